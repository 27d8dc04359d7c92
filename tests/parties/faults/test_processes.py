"""Faults between real processes, and under them: a session ends in bounded time, whoever is alive serves on.

What a session says of a party that was killed or stopped is in tests/parties/test_launcher.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.client.run import Progress
from secure.parties.config import CALLERS, PARTIES
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.stock.store import _SPARE_BYTES
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.dialer import SERVICE, Dialer
from secure.protocols.core.errors import PartyLost, PartyUnreachable, SessionError, StockFull
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.faults.line import Fault, Line
from tests.parties.local import eventually

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = "tests.parties.fake_process"
MANIFEST = FakeManifest()
ENDLESS = 1_000_000
"""Layers: a session that has so many ends by a fault alone."""


class OwnFiles(Launcher):
    """Each role has a file of its own, as on hosts apart. What the roles log is kept."""

    def __init__(self, configs: dict[str, Path]) -> None:
        self.said: dict[str, list[str]] = {role: [] for role in configs}
        self._configs = configs
        super().__init__(
            configs["client"],
            module=PROGRAM,
            stop_when_one_ends=False,
            log=lambda role, line: self.said[role].append(line),
        )

    def _start(self, role: str, config: Path) -> None:
        super()._start(role, self._configs[role])


@contextmanager
def parties_with(
    folder: Path, dialled: dict[tuple[str, str], Line], addresses: dict[str, str], more: str = ""
) -> Iterator[OwnFiles]:
    """Real processes. dialled: (who dials, whom) → the line that it takes. more: of every settings file."""
    make_certificates(folder / "certificates", roles=(*PARTIES, *CALLERS))
    configs = {}
    for role in (*PARTIES, "client"):
        seen = {
            other: dialled[role, other].address if (role, other) in dialled else at for other, at in addresses.items()
        }
        # Everybody listens where the lines end, whatever others dial.
        listening = {other: f'address = "{seen[other]}"\nlisten = "{addresses[other]}"' for other in PARTIES}
        text = settings_toml(seen, folder / "certificates")
        for other in PARTIES:
            text = text.replace(f'[{other}]\naddress = "{seen[other]}"', f"[{other}]\n{listening[other]}")
        configs[role] = folder / f"{role}.toml"
        configs[role].write_text(f"{text}\n{more}", encoding="utf-8")
    with OwnFiles(configs) as launcher:
        launcher.start()
        yield launcher


def predict(client: Client, layers: int = 3, progress: Callable[[Progress], None] | None = None) -> None:
    request = FakeRequest(layers=layers)
    client.predict(MANIFEST.digest, MANIFEST.policy.digest(), request, (b"a", b"b"), progress)


@pytest.mark.parametrize("ends", [("p0", "p1"), ("dealer", "p1"), ("client", "p0")], ids=" to ".join)
def test_a_line_that_fails_ends_its_session_and_no_other(
    tmp_path: Path, shares: dict[str, Path], ends: tuple[str, str]
) -> None:
    """One after another on the same parties: each fault, then a session over the line as it should be."""
    addresses = free_addresses()
    more = "[limits]\nrendezvous_seconds = 60.0\nidle_seconds = 60.0\n"
    with (
        Line(addresses[ends[1]]) as line,
        parties_with(tmp_path, {ends: line}, addresses, more) as running,
        Client(running.settings) as client,
    ):
        client.load_model(MANIFEST, shares)
        faults: tuple[Fault, ...] = ("reset", "cut", "twice", "turned", "silent")
        for fault in faults:
            line.struck.clear()

            def strike(event: Progress, fault: Fault = fault) -> None:
                if event.index >= 10:
                    line.fault = fault

            with pytest.raises(SessionError) as ended:
                predict(client, ENDLESS, strike)
            assert line.struck.is_set(), f"{fault}: the session ended before"
            assert exit_code(ended.value) in (ExitCode.PARTY_LOST, ExitCode.UNREACHABLE), f"{fault}: {ended.value!r}"
            if isinstance(ended.value, PartyLost):
                # Both ends of a line see the other one go; no third role is blamed.
                assert any(end in str(ended.value) for end in ends), f"{fault}: {ended.value}"
            line.fault = None
            eventually(lambda: set(client.health().values()) == {"serving"}, 120.0)
            predict(client)
        # Slow is no fault.
        line.fault = "slow"
        predict(client)
        assert line.struck.is_set()


def test_a_message_that_is_too_large_is_refused_and_the_party_serves_on(
    tmp_path: Path, shares: dict[str, Path]
) -> None:
    with (
        parties_with(tmp_path, {}, free_addresses()) as running,
        Client(running.settings) as client,
    ):
        client.load_model(MANIFEST, shares)
        dialer = Dialer(running.settings, "client")
        for role in PARTIES:
            call = dialer.channel(role).stream_stream(f"/{SERVICE}/Run")(iter([bytes(64 << 20)]))
            with pytest.raises(grpc.RpcError) as refused:
                list(call)
            assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN)
        dialer.close()
        predict(client)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk for p1's stock, of 8 MB and what a stock leaves free."""
    folder = tmp_path / "stock" / "p1"
    folder.mkdir(parents=True, mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={(_SPARE_BYTES >> 20) + 8}m,mode=0700", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may mount no disk here")
    yield tmp_path / "stock"
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def test_a_full_disk_under_a_party_costs_the_deal_and_nothing_else(
    tmp_path: Path, shares: dict[str, Path], small_disk: Path
) -> None:
    more = f"[stock]\ndir = '{small_disk}'\nkey = 'memory'\nfallback = true\n"
    with parties_with(tmp_path, {}, free_addresses(), more) as running, Client(running.settings) as client:
        client.load_model(MANIFEST, shares)
        operator = Operator(load_settings(running.config), "dealer")
        large, small = FakeRequest(layers=12, correction_bytes=1 << 20), FakeRequest(layers=3)
        with pytest.raises(StockFull, match=r"no room|more than"):
            operator.deal(MANIFEST.digest, large.to_json(), 1)
        with pytest.raises(OSError, match="No space"), (small_disk / "p1" / "rest").open("wb", 0) as file:
            for _ in range(1 << 12):
                file.write(bytes(1 << 16))
        # With no byte left the party still answers, with a dealer on line.
        client.predict(MANIFEST.digest, MANIFEST.policy.digest(), small, (b"a", b"b"))
        with pytest.raises(StockFull, match="the stock of p1 has no room"):
            operator.deal(MANIFEST.digest, small.to_json(), 1)
        (small_disk / "p1" / "rest").unlink()
        operator.deal(MANIFEST.digest, small.to_json(), 1)
        done = client.predict(MANIFEST.digest, MANIFEST.policy.digest(), small, (b"a", b"b"))
        assert "dealer" not in done.costs.reports


def test_a_party_behind_another_address_is_named_where_it_cannot_be_reached(
    tmp_path: Path, shares: dict[str, Path]
) -> None:
    """P0 dials p1 by an address at which nobody listens, as behind a router that forwards nothing."""
    nowhere = Line("127.0.0.1:1")
    with (
        nowhere,
        parties_with(tmp_path, {("p0", "p1"): nowhere}, free_addresses()) as running,
        Client(running.settings) as client,
        pytest.raises(PartyUnreachable, match="p1"),
    ):
        client.load_model(MANIFEST, shares)
