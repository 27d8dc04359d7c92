"""The network profile: every role has the same in a session, and where settings leave it open, p0 names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secure.parties.client.client import Client
from secure.parties.client.run import Run
from secure.parties.config import PartiesSettings, ProfileName
from secure.parties.session import probe
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Hello
from secure.protocols.core.errors import HandshakeError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties

MANIFEST = FakeManifest()
PAYLOADS = b"", b""


@contextmanager
def started(
    settings: PartiesSettings, everybody: ProfileName, own: dict[str, ProfileName] | None = None
) -> Iterator[PartiesSettings]:
    """Parties with that profile in their files, or one of their own; gives the settings of a client that has theirs."""
    every = replace(settings, profile=everybody)
    parties = LocalParties(every, {role: replace(settings, profile=name) for role, name in (own or {}).items()})
    try:
        yield every
    finally:
        parties.stop_all()


def used(client: Client, shares: dict[str, Path]) -> set[str]:
    """The profiles by which the roles computed, and what the client reports."""
    client.load_model(MANIFEST, shares)
    return predicted(client)


def predicted(client: Client) -> set[str]:
    costs = client.predict(MANIFEST.digest, MANIFEST.policy.digest(), FakeRequest(), PAYLOADS).costs
    return {costs.profile, *(report.rows[0]["profile"] for report in costs.reports.values())}


@pytest.mark.parametrize(("seconds", "due"), [(0.006, "far"), (0.004, "near")])
def test_p0_names_the_profile_by_the_way_to_its_peers(
    seconds: float, due: str, settings: PartiesSettings, shares: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(link: Link) -> float:
        asked.append(link.peer)
        return seconds

    monkeypatch.setattr(probe, "round_trip_seconds", measured)
    with started(settings, "auto") as auto, Client(auto) as client:
        assert used(client, shares) == {due}
        assert used(client, shares) == {due} and asked == ["p1"], "it is measured once"
        with Client(replace(auto, profile="far")) as other:
            assert used(other, shares) == {"far"}, "these parties take what a client's file says"


def test_a_round_trip_is_measured(settings: PartiesSettings) -> None:
    with started(settings, "auto") as auto:
        dialer = Dialer(auto, "p0")
        try:
            assert 0 < probe.round_trip_seconds(probe.asked(dialer, auto.protocol, "p1")) < 60
        finally:
            dialer.close()


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
@pytest.mark.parametrize("own", [None, {"dealer": "near"}, {"p1": "near"}], ids=["client", "dealer", "p1"])
def test_another_profile_is_refused_by_name(
    own: dict[str, ProfileName] | None, settings: PartiesSettings, shares: dict[str, Path]
) -> None:
    """A client, or a single role, whose file has another one than the others' have."""
    everybody: ProfileName = "far" if own else "near"
    with started(settings, everybody, own), Client(replace(settings, profile="far")) as client:
        client.load_model(MANIFEST, shares)
        words = "network profile differs: this side has 'near', the other side 'far'"
        with pytest.raises(HandshakeError, match=words) as caught:
            predicted(client)
        assert caught.value.field == "network profile"


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
@pytest.mark.parametrize("role", ["p1", "dealer"])
def test_all_roles_must_be_told_the_same(
    role: str, settings: PartiesSettings, shares: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that tells one role another profile, seen by an honest client and by that role's peers."""
    dial = Dialer.dial

    def lie(self: Dialer, peer: str, stream: str, hello: Hello, *more: Any, **options: Any) -> tuple[Link, Accept]:
        told = Hello()
        told.CopyFrom(hello)
        if (peer, stream) == (role, "Run") and told.profile:
            told.profile = "far"
        return dial(self, peer, stream, told, *more, **options)

    with started(settings, "auto") as auto, Client(replace(auto, profile="near")) as client:
        client.load_model(MANIFEST, shares)
        monkeypatch.setattr(Dialer, "dial", lie)
        with pytest.raises(HandshakeError, match=f"client with {role}: network profile differs"):
            predicted(client)
        monkeypatch.setattr(Run, "_check", lambda *arguments: None)
        with pytest.raises(HandshakeError, match=r"(p\d|dealer) with (p\d|dealer): network profile differs"):
            predicted(client)
