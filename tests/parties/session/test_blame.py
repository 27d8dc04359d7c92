"""One party cannot reach another one, which runs: the client and every operator hear who cannot reach whom, and why."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from secure.parties.client.client import Client
from secure.parties.config import CALLERS, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import HandshakeError, PartyUnreachable, SessionError
from secure.protocols.families import FAMILIES
from tests.parties.fakes import FakeManifest
from tests.parties.local import LocalParties, eventually
from tests.sampling import product_of

PROGRAM = "tests.parties.fake_process"
SECONDS = 1.0
WAITED = SECONDS + 2


def closed_port(settings: PartiesSettings) -> str:
    """An address at which nobody listens."""
    return free_addresses(["p1"])["p1"]


def unknown_name(settings: PartiesSettings) -> str:
    return "p1.invalid:7101"


def anothers_address(settings: PartiesSettings) -> str:
    """Where the last of the parties, or p0, answers, under another name, as a file with one twice is refused."""
    role = next(role for role in (*reversed(settings.parties), "p0") if role != "p1")
    return settings.parties[role].address.replace("127.0.0.1", "localhost")


REASONS: Mapping[str, str] = {"closed_port": "connection refused", "unknown_name": "its name does not resolve"}
MISTAKES = {found.__name__: found for found in (closed_port, unknown_name, anothers_address)}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Certificates of each family."""
    found = {}
    for name, family in FAMILIES.items():
        found[name] = tmp_path_factory.mktemp(name) / "certificates"
        make_certificates(found[name], roles=(*family.roles, *CALLERS))
    return found


@pytest.fixture
def settings(folders: Mapping[str, Path], family: str) -> PartiesSettings:
    addresses = free_addresses(FAMILIES[family].roles)
    parties = {role: PartySettings(address, address) for role, address in addresses.items()}
    return PartiesSettings(parties, folders[family], limits=Limits(rendezvous_seconds=SECONDS), protocol=family)


@pytest.fixture
def wrong(settings: PartiesSettings, mistake: str) -> PartiesSettings:
    """As p0's host has them: with a wrong address of p1."""
    address = MISTAKES[mistake](settings)
    p1 = replace(settings.parties["p1"], address=address)
    return replace(settings, parties={**settings.parties, "p1": p1})


@pytest.fixture
def parties(settings: PartiesSettings, wrong: PartiesSettings) -> Iterator[LocalParties]:
    started = LocalParties(settings, {"p0": wrong})
    yield started
    started.stop_all()


def check(error: SessionError, mistake: str, wrong: PartiesSettings) -> str:
    """What the error says of the cause, after it was found to be the right one."""
    address = wrong.parties["p1"].address
    if mistake == "anothers_address":
        assert type(error) is HandshakeError
        cause = f"p0 dialling p1 at {address}: certificate differs"
        assert "made out to another role" in str(error)
    else:
        assert type(error) is PartyUnreachable
        cause = f"p0 cannot reach p1: p1 at {address} did not answer within {SECONDS:.1f} s ({REASONS[mistake]})"
        assert f"; meanwhile p1 waited {WAITED:.1f} s for p0, which did not connect to it" in str(error)
    assert str(error).startswith(cause)
    return cause


def told(cause: str) -> re.Pattern[str]:
    """A line of a log that has the cause from the client."""
    return re.compile(rf"session \w{{8}}.*: the client ended it: {re.escape(cause)}")


@product_of(family=list(FAMILIES), mistake=list(MISTAKES))
def test_a_party_that_cannot_reach_another_one_is_told_from_one_that_is_not_there(
    parties: LocalParties, wrong: PartiesSettings, mistake: str, caplog: pytest.LogCaptureFixture, family: str
) -> None:
    caplog.set_level(logging.WARNING, "parties")
    # Of three, who is dialled and dials reads its share while the two others cannot meet.
    shares, size = dict.fromkeys(FAMILIES[family].computing, Path(__file__)), Path(__file__).stat().st_size
    with Client(parties.settings) as client, pytest.raises(SessionError) as caught:
        client.load_model(FakeManifest(share_bytes=size), shares)
    cause = check(caught.value, mistake, wrong)
    eventually(lambda: all(server.sessions == 0 for server in parties.servers.values()))
    # Whoever said it has it in its log, and others have it from the client.
    assert len([line for line in caplog.messages if told(cause).match(line)]) >= min(2, len(parties.servers) - 1)


class OwnFiles(Launcher):
    """Parties whose hosts have files of their own."""

    files: Mapping[str, Path] = MappingProxyType({})

    def _start(self, role: str, config: Path) -> None:
        super()._start(role, self.files.get(role, config))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_operators_of_processes_are_told_too(
    settings: PartiesSettings, wrong: PartiesSettings, mistake: str, family: str, tmp_path: Path
) -> None:
    files = {}
    for name, chosen in (("all", settings), ("p0", wrong)):
        addresses = {role: party.address for role, party in chosen.parties.items()}
        files[name] = tmp_path / f"{name}.toml"
        text = settings_toml(addresses, chosen.tls_dir, protocol=family)
        # p0 listens where the others find it, whatever its own file says of p1.
        files[name].write_text(f"{text}\n[limits]\nrendezvous_seconds = {SECONDS}\n", encoding="utf-8")
    logs: dict[str, list[str]] = {role: [] for role in settings.parties}
    shares, size = dict.fromkeys(FAMILIES[family].computing, Path(__file__)), Path(__file__).stat().st_size
    launcher = OwnFiles(files["all"], protocol=family, module=PROGRAM, log=lambda role, line: logs[role].append(line))
    launcher.files = {"p0": files["p0"]}
    with launcher:
        launcher.start()
        with Client(settings) as client, pytest.raises(SessionError) as caught:
            client.load_model(FakeManifest(share_bytes=size), shares)
        cause = check(caught.value, mistake, wrong)
        for role in set(settings.parties) - {"p0"}:
            eventually(lambda lines=logs[role]: any(told(cause).search(line) for line in lines))
        assert any(cause in line for line in logs["p0"])
