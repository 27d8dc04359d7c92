"""Real parties that are killed and started again, with the key of what they keep held by somebody else."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import secure
from secure.connection import Parties
from secure.models.checkpoint.conversion import split_checkpoint
from secure.parties.client.client import Client
from secure.parties.config import PARTIES
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.stock.key import sealed_memory
from secure.parties.transport.certificates.making import make_certificates
from secure.tokens import load_tokenizer
from tests.secure.conftest import plain_embeddings
from tests.secure.processes import with_key
from tests.secure.processes.party_that_is_killed import POINTS

HIDDEN_ERROR = 5e-3
SENTENCES = ["the cat sat", "rain"]

pytestmark = [pytest.mark.processes, pytest.mark.slow]


class Kept(Launcher):
    """Parties that keep their models; this process holds their keys. lines: of their logs."""

    def __init__(self, folder: Path, module: str) -> None:
        self.folder, self.lines = folder, list[str]()
        make_certificates(folder / "certs")
        config = folder / "parties.toml"
        config.write_text(
            settings_toml(free_addresses(), folder / "certs", models_dir=folder / "models")
            + f'\n[stock]\ndir = "{folder / "stock"}"\nkey = "systemd"\n'
        )
        self.keys = {role: sealed_memory(os.urandom(32)) for role in PARTIES}
        program = str(Path(with_key.__file__).resolve())
        prefixes = {role: (sys.executable, program, f"/proc/{os.getpid()}/fd/{key}") for role, key in self.keys.items()}
        super().__init__(
            config,
            module=module,
            prefixes=prefixes,
            stop_when_one_ends=False,
            log=lambda role, line: self.lines.append(f"{role} {line}"),
        )

    def kill(self, *roles: str) -> None:
        for role in roles:
            os.kill(self.process_ids[role], signal.SIGKILL)
            self._processes[role].wait()

    def taken_up(self) -> list[str]:
        return [line.split()[0] for line in self.lines if "is taken up again" in line]

    def sealed(self, role: str) -> Path:
        (found,) = (self.folder / "stock" / role / "models").glob("*.sealed")
        return found


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Kept]:
    with Kept(tmp_path, getattr(request, "param", "secure.parties")) as parties:
        parties.start()
        yield parties
    for key in parties.keys.values():
        os.close(key)


def test_killed_parties_serve_again_without_a_load(kept: Kept, checkpoint: Path, reference: Any) -> None:
    """An uploaded model, then one of their own disks; each role by itself, and all at once."""
    expected = plain_embeddings(reference, load_tokenizer(checkpoint), SENTENCES)
    with Parties(Client(kept.settings)) as parties:
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        before = {role: kept.sealed(role).read_bytes() for role in PARTIES}
        kept.kill("p1")
        kept.restart("p1")
        assert kept.taken_up() == ["p1"]
        assert float((model.encode(SENTENCES) - expected).abs().max()) < HIDDEN_ERROR
        kept.kill(*PARTIES)
        # The first to come up finds nobody to ask.
        for role in PARTIES:
            kept._close_pipe(role)
            kept._start(role, kept.config)
        kept._wait_until_healthy()
        assert sorted(kept.taken_up()) == ["dealer", "p0", "p1", "p1"]
        assert float((model.encode(SENTENCES) - expected).abs().max()) < HIDDEN_ERROR
        assert {role: kept.sealed(role).read_bytes() for role in PARTIES} == before
        model.unload()
        assert not list(kept.folder.glob("stock/*/models/*"))


def test_another_share_never_meets_the_mask_of_the_first(kept: Kept, checkpoint: Path, reference: Any) -> None:
    """What was opened is read as it was; a file of which one bit differs is not, and all three load the model anew."""
    expected = plain_embeddings(reference, load_tokenizer(checkpoint), SENTENCES)
    split_checkpoint(checkpoint, kept.folder / "models" / "mine")
    at_client = shutil.copytree(kept.folder / "models" / "mine", kept.folder / "client")
    for role in ("p0", "p1"):
        (at_client / f"{role}.safetensors").unlink()  # so that nothing is uploaded
    with Parties(Client(kept.settings)) as parties:
        model = secure.PrivateModel.from_pretrained(at_client, parties=parties)
        kept.kill("p1")
        share = kept.folder / "models" / "mine" / "p1.safetensors"
        content = share.read_bytes()
        share.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        kept.restart("p1")
        assert kept.taken_up() == ["p1"]
        assert float((model.encode(SENTENCES) - expected).abs().max()) < HIDDEN_ERROR
        kept.kill("p1")
        share.write_bytes(content)
        sealed = kept.sealed("p1")
        changed = bytearray(sealed.read_bytes())
        changed[len(changed) // 2] ^= 1
        sealed.write_bytes(changed)
        kept.restart("p1")
        assert kept.taken_up() == ["p1"]
        assert any("has to be loaded anew" in line and "was changed" in line for line in kept.lines)
        assert not list((kept.folder / "stock" / "p1" / "models").glob("*.sealed"))
        # The client has all of them load it anew, under other masks.
        first = kept.sealed("p0").read_bytes()
        assert float((model.encode(SENTENCES) - expected).abs().max()) < HIDDEN_ERROR
        second = kept.sealed("p0").read_bytes()
        assert second != first and len(second) == len(first)


def test_a_key_that_is_gone_takes_its_models_along(kept: Kept, checkpoint: Path) -> None:
    with Parties(Client(kept.settings)) as parties:
        secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        kept.kill("p0")
        os.dup2(sealed_memory(os.urandom(32)), kept.keys["p0"])
        kept.restart("p0")
        assert any("p0 " in line and "was sealed under another key" in line for line in kept.lines)
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        assert model.encode(SENTENCES).shape == (2, 24)


@pytest.mark.parametrize("kept", ["tests.secure.processes.party_that_is_killed"], indirect=True)
def test_kills_at_every_marked_point_of_a_load(kept: Kept, checkpoint: Path, reference: Any) -> None:
    """p1 has the old load then, or the new one; whoever calls next gets an answer, and no file is left over."""
    expected = plain_embeddings(reference, load_tokenizer(checkpoint), SENTENCES)
    split = kept.folder / "split"  # of which every load has the same digest
    split_checkpoint(checkpoint, split)
    with Parties(Client(kept.settings)) as parties:
        secure.PrivateModel.from_pretrained(split, parties=parties)
    for point in POINTS:
        old = kept.sealed("p1").read_bytes()
        kept.kill("dealer")
        kept.sealed("dealer").unlink()  # so that the next client has all three load the model
        kept.restart("dealer")
        (kept.folder / "stock" / "p1.kill").write_text(point)
        with Parties(Client(kept.settings)) as parties:
            with pytest.raises(secure.errors.SessionError):
                secure.PrivateModel.from_pretrained(split, parties=parties)
            assert kept._processes["p1"].wait() == -signal.SIGKILL
            assert (kept.sealed("p1").read_bytes() == old) == (point in POINTS[:2])
            kept.restart("p1")
            left = {path.suffix for path in kept.sealed("p1").parent.iterdir()}
            assert left == {".sealed", ".users"}
            model = secure.PrivateModel.from_pretrained(split, parties=parties)
            assert float((model.encode(SENTENCES) - expected).abs().max()) < HIDDEN_ERROR
    assert kept.taken_up().count("p1") == len(POINTS)
