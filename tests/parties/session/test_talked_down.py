"""No role of three evaluators and a dealer computes by a weaker protocol than its own settings name, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secure.parties.client.client import Client
from secure.parties.config import CALLERS, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Hello
from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import HandshakeError
from secure.protocols.core.family import Family
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import WITNESSED
from tests.parties.fakes import FakeManifest
from tests.parties.local import LocalParties

DIALLED = [("p0", "p1"), ("p1", "p2"), ("p2", "p0"), ("dealer", "p0"), ("dealer", "p1"), ("dealer", "p2")]
"""Who connects to whom in a session, beside the client to all."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talked") / "certificates"
    make_certificates(folder, roles=(*WITNESSED.roles, *CALLERS))
    return folder


@pytest.fixture
def settings(tls: Path) -> PartiesSettings:
    addresses = {role: PartySettings(each, each) for role, each in free_addresses(WITNESSED.roles).items()}
    return PartiesSettings(addresses, tls, protocol=WITNESSED.name, limits=Limits(rendezvous_seconds=60.0))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {role: tmp_path / f"{role}.share" for role in WITNESSED.computing}
    for path in found.values():
        path.write_bytes(b"abc")
    return found


@pytest.fixture
def client(settings: PartiesSettings) -> Iterator[Client]:
    parties = LocalParties(settings)
    with Client(settings) as found:
        yield found
    parties.stop_all()


def weaker(settings: PartiesSettings, family: Family) -> PartiesSettings:
    """The same hosts and certificates, for another protocol."""
    parties = {role: settings.parties[role] for role in family.roles}
    return replace(settings, protocol=family.name, parties=parties)


@pytest.mark.parametrize(
    ("role", "family"),
    [("p0", BEAVER), ("p1", BEAVER), ("dealer", BEAVER), ("p1", REPLICATED), ("p2", REPLICATED)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_one_whose_settings_name_a_weaker_protocol_is_left_out(
    role: str, family: Family, settings: PartiesSettings, files: dict[str, Path]
) -> None:
    parties = LocalParties(settings, own={role: weaker(settings, family)})
    words = f"protocol differs: this side has '{family.name}', the other side 'witnessed'"
    try:
        with Client(settings) as client, pytest.raises(HandshakeError, match=words):
            client.load_model(FakeManifest(), files)
    finally:
        parties.stop_all()


def test_a_client_that_asks_for_less_is_refused(
    client: Client, settings: PartiesSettings, files: dict[str, Path]
) -> None:
    client.load_model(FakeManifest(), files)
    words = "protocol differs: this side has 'witnessed', the other side 'beaver'"
    with Client(weaker(settings, BEAVER)) as asks, pytest.raises(HandshakeError, match=words):
        asks.load_model(FakeManifest(), {role: files[role] for role in BEAVER.computing})


@pytest.mark.parametrize(("sender", "receiver"), [*DIALLED, *(("client", role) for role in WITNESSED.roles)])
def test_one_that_says_another_protocol_to_one_other_ends_the_session(
    sender: str, receiver: str, client: Client, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is in the middle, or lies, would have two roles believe in two protocols."""
    dial, said = Dialer.dial, []

    def lies(self: Dialer, peer: str, stream: str, hello: Hello, *more: Any, **options: Any) -> tuple[Link, Accept]:
        if (hello.role, peer) == (sender, receiver):
            told = Hello()
            told.CopyFrom(hello)
            told.family = BEAVER.name
            hello = told
            said.append(stream)
        return dial(self, peer, stream, hello, *more, **options)

    monkeypatch.setattr(Dialer, "dial", lies)
    with pytest.raises(HandshakeError, match=r"protocol differs: this side has 'witnessed', the other side 'beaver'"):
        client.load_model(FakeManifest(), files)
    assert said, "nobody was told anything"
