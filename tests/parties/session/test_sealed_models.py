"""Models that outlive a restart: served under the same masks with no message, or loaded anew."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secure.models.storage.kept_model import Kept
from secure.parties.client.client import Client
from secure.parties.config import PARTIES, PartiesSettings
from secure.parties.process.server import PartyServer
from secure.parties.roles.engine import MeterRows, Tools
from secure.parties.stock import sealed as sealed_files
from secure.parties.stock_settings import KeyKind, StockSettings
from secure.protocols.core.errors import CheckpointError, ModelNotLoaded
from tests.parties.fakes import FakeEngine, FakeManifest, FakeRequest
from tests.parties.local import LocalParties
from tests.parties.session.test_sessions import predict

READ = "nobody"


class CountingEngine(FakeEngine):
    """Notes what it loads, with which peer, and what it reads, with none."""

    def __init__(self) -> None:
        self.loads: list[str] = []

    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        channel = getattr(tools, "peer", None) or tools.to_p1  # type: ignore[attr-defined]
        self.loads.append(channel.peer)
        return super().load(tools, manifest_json, share)

    def read(self, manifest_json: str, role: str, kept: Kept) -> object:
        self.loads.append(READ)
        return super().read(manifest_json, role, kept)


class KeepingParties(LocalParties):
    """Parties with a folder each for what is to outlive them."""

    def __init__(self, settings: PartiesSettings, folder: Path, key: KeyKind = "file") -> None:
        self.folder, self.engines = folder, {role: CountingEngine() for role in PARTIES}
        super().__init__(replace(settings, stock=StockSettings(folder, key)))

    def start(self, role: str, engine: Any = None) -> None:
        self.engines[role] = CountingEngine()
        super().start(role, self.engines[role])

    def restart(self, *roles: str) -> None:
        for role in roles or PARTIES:
            self.stop(role)
        for role in roles or PARTIES:
            self.start(role)

    def sealed(self, role: str, manifest: FakeManifest) -> Path:
        return self.folder / role / "models" / f"{manifest.digest}.sealed"


@pytest.fixture
def keeping(settings: PartiesSettings, tmp_path: Path) -> Iterator[KeepingParties]:
    parties = KeepingParties(settings, tmp_path / "kept")
    yield parties
    parties.stop_all()


@pytest.fixture
def loaded(keeping: KeepingParties, shares: dict[str, Path]) -> Iterator[tuple[Client, FakeManifest]]:
    manifest = FakeManifest()
    with Client(keeping.settings) as client:
        client.load_model(manifest, shares)
        yield client, manifest


@pytest.mark.parametrize("roles", [("p0",), ("p1",), ("dealer",), PARTIES], ids=" and ".join)
def test_a_restarted_role_serves_with_no_message(
    roles: tuple[str, ...], keeping: KeepingParties, loaded: tuple[Client, FakeManifest], shares: dict[str, Path]
) -> None:
    client, manifest = loaded
    answer = predict(client, manifest)
    keeping.restart(*roles)
    for role in roles:
        assert keeping.engines[role].loads == [READ]
    assert predict(client, manifest) == answer
    with Client(keeping.settings) as another:
        another.load_model(manifest, shares)
        assert predict(another, manifest) == answer
    assert [engine.loads[1:] for engine in keeping.engines.values()] == [[], [], []]


def test_shares_of_their_own_disks_are_not_read_again(keeping: KeepingParties, shares: dict[str, Path]) -> None:
    keeping.stop_all()
    keeping.settings = replace(keeping.settings, models_dir=shares["p0"].parent)
    for role in PARTIES:
        keeping.start(role)
    manifest = FakeManifest()
    with Client(keeping.settings) as client:
        client.load_model(manifest)
        answer = predict(client, manifest)
        keeping.restart()
        assert predict(client, manifest) == answer
        assert keeping.engines["p0"].loads == [READ]
        # Another share never meets the old mask: it is not read, what was opened stays what it was.
        shares["p1"].write_bytes(b"another")
        keeping.restart("p1")
        assert keeping.engines["p1"].loads == [READ]
        assert predict(client, manifest) == answer


def test_with_the_key_in_memory_nothing_is_written(
    settings: PartiesSettings, shares: dict[str, Path], tmp_path: Path
) -> None:
    keeping, manifest = KeepingParties(settings, tmp_path / "kept", "memory"), FakeManifest()
    try:
        left = keeping.sealed("p0", manifest)
        left.parent.mkdir(parents=True)
        left.write_bytes(b"of a process that had another key")
        keeping.restart("p0")
        assert not left.exists()
        with Client(keeping.settings) as client:
            client.load_model(manifest, shares)
            assert not list(keeping.folder.glob("*/models/*"))
            keeping.restart()
            with pytest.raises(ModelNotLoaded):
                predict(client, manifest)
            client.load_model(manifest, shares)
            assert predict(client, manifest) == (b"0p rof", b"1p rof")
    finally:
        keeping.stop_all()


def _flip(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)


def _cut(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size - 23)  # the segment that says that none follows


def _swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def _foreign(path: Path, other: Path) -> None:
    path.write_bytes((path.parents[2] / "p0" / "models" / path.name).read_bytes())


def _empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [_flip, _cut, _swap, _foreign, _empty])
def test_what_was_changed_is_loaded_anew_and_nothing_of_it_is_used(
    change: Callable[[Path, Path], None],
    keeping: KeepingParties,
    loaded: tuple[Client, FakeManifest],
    shares: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, manifest = loaded
    second = FakeManifest("another")
    client.load_model(second, shares)
    change(keeping.sealed("p1", manifest), keeping.sealed("p1", second))
    with caplog.at_level(logging.INFO, "parties"):
        keeping.restart("p1")
    assert f"model {manifest.digest[:8]} has to be loaded anew: {manifest.digest}.sealed: " in caplog.text
    assert not keeping.sealed("p1", manifest).exists()
    assert predict(client, second) == (b"0p rof", b"1p rof")
    client.load_model(manifest, shares)
    assert keeping.engines["p1"].loads[-1] == "p0"  # with its peer, as any load
    assert predict(client, manifest) == (b"0p rof", b"1p rof")
    assert keeping.sealed("p1", manifest).exists()


def test_a_load_that_fails_leaves_the_old_one(
    keeping: KeepingParties, loaded: tuple[Client, FakeManifest], shares: dict[str, Path], tmp_path: Path
) -> None:
    _, manifest = loaded
    before = {role: keeping.sealed(role, manifest).read_bytes() for role in PARTIES}
    keeping.stop("dealer")
    keeping.sealed("dealer", manifest).unlink()
    keeping.start("dealer")  # without the model, so that a client loads it at all roles
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"of another length")
    with Client(keeping.settings) as another, pytest.raises(CheckpointError, match="bytes instead of"):
        another.load_model(manifest, shares | {"p1": wrong})
    for role in ("p0", "p1"):
        assert keeping.sealed(role, manifest).read_bytes() == before[role]
        assert len(list(keeping.sealed(role, manifest).parent.iterdir())) == 2  # the model and its users


def test_a_second_load_takes_the_place_of_the_first(
    keeping: KeepingParties, loaded: tuple[Client, FakeManifest], shares: dict[str, Path]
) -> None:
    client, manifest = loaded
    keeping.stop("p1")
    keeping.sealed("p1", manifest).unlink()
    keeping.start("p1")
    with Client(keeping.settings) as another:
        another.load_model(manifest, shares)
        keeping.restart()
        assert predict(another, manifest) == (b"0p rof", b"1p rof")
    with pytest.raises(ModelNotLoaded):
        predict(client, manifest)


def test_a_model_is_kept_for_all_who_use_it(
    keeping: KeepingParties, loaded: tuple[Client, FakeManifest], shares: dict[str, Path]
) -> None:
    client, manifest = loaded
    with Client(keeping.settings, "owner") as owner:
        owner.load_model(manifest, shares)
        keeping.restart()
        client.unload_model(manifest.digest)
        assert all(keeping.sealed(role, manifest).exists() for role in PARTIES)
        keeping.restart()
        owner.unload_model(manifest.digest)
    assert not list(keeping.folder.glob("*/models/*"))


def test_a_full_disk_ends_the_record_and_not_the_load(
    keeping: KeepingParties,
    shares: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    manifest = FakeManifest()
    with Client(keeping.settings) as client, monkeypatch.context() as patch:
        patch.setattr(sealed_files.os, "fsync", full)
        client.load_model(manifest, shares)
        assert predict(client, manifest) == (b"0p rof", b"1p rof")
    assert "will not be kept over a restart: No space left on device" in caplog.text
    assert not list(keeping.folder.glob("*/models/*"))


def test_files_and_logs_hold_nothing_secret(
    keeping: KeepingParties,
    shares: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    drawn: list[bytes] = []
    urandom = os.urandom

    def noted(count: int) -> bytes:
        drawn.append(urandom(count))
        return drawn[-1]

    manifest = FakeManifest(share_bytes=64)
    for path in shares.values():
        path.write_bytes(urandom(64))
    monkeypatch.setattr(os, "urandom", noted)
    with caplog.at_level(logging.DEBUG, "parties"), Client(keeping.settings) as client:
        client.load_model(manifest, shares)
        predict(client, manifest, FakeRequest())
        keeping.restart()
        predict(client, manifest, FakeRequest())
    kept = b"".join(path.read_bytes() for path in keeping.folder.glob("*/models/*"))
    names = "".join(str(path) for path in keeping.folder.glob("**/*"))
    secrets = [seed for seed in drawn if len(seed) in (16, 32)] + [path.read_bytes() for path in shares.values()]
    public = {client._load_ids[manifest.digest]}
    for secret in secrets:
        if secret.hex() in public or secret.hex() in caplog.text:
            assert len(secret) == 16  # a session's id, which logs begin with
            continue
        assert secret[:8] not in kept
        assert secret[:8].hex() not in caplog.text + names


def test_server_without_stock_keeps_nothing(settings: PartiesSettings) -> None:
    server = PartyServer(settings, "p0", FakeEngine())
    server._worker.take_up_models()
    assert server._worker.models.sealed is None
    server.stop()
