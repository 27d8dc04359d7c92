"""Every refusal names the field and both values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from secure.parties.client.client import Client
from secure.parties.client.run import Run
from secure.parties.session.handshake import PROTOCOL_VERSION, as_role, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Hello, Kind
from secure.protocols.core.errors import HandshakeError, ModelNotLoaded, PartyAbsent, ProtocolError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties


@pytest.fixture
def dialer_of(local_parties: LocalParties) -> Iterator[Callable[[str], Dialer]]:
    dialers: list[Dialer] = []

    def make(role: str) -> Dialer:
        dialers.append(Dialer(local_parties.settings, role))
        return dialers[-1]

    yield make
    for dialer in dialers:
        dialer.close()


def hello(role: str = "client", **fields: object) -> Hello:
    message = Hello(
        protocol_version=PROTOCOL_VERSION,
        session=new_session_id(),
        role=role,
        kind=Kind.KIND_UNLOAD,
        family="beaver",
        profile="near",
    )
    message.MergeFrom(Hello(**fields))  # type: ignore[arg-type]
    return message


@pytest.mark.parametrize("stream", ["Run", "Exchange", "Deal"])
def test_another_version_is_refused(dialer_of: Callable[[str], Dialer], stream: str) -> None:
    role = {"Run": "client", "Exchange": "p0", "Deal": "dealer"}[stream]
    words = f"protocol version differs: this side has '{PROTOCOL_VERSION}', the other side '99'"
    with pytest.raises(HandshakeError, match=words):
        dialer_of(role).dial("p1", stream, hello(role, protocol_version=99))


@pytest.mark.parametrize(("certified", "claimed"), [("client", "owner"), ("client", "p0"), ("p0", "dealer")])
def test_a_claimed_role_must_be_the_certificates(
    dialer_of: Callable[[str], Dialer], certified: str, claimed: str
) -> None:
    with pytest.raises(HandshakeError, match=f"role .*differs: this side has '{certified}', .* '{claimed}'"):
        dialer_of(certified).dial("p1", "Run", hello(claimed))


@pytest.mark.parametrize(
    ("role", "stream", "words"),
    [
        ("p0", "Run", "Run is for client or owner or p1"),
        ("dealer", "Run", "Run is for client or owner or p1"),
        ("client", "Exchange", "Exchange is for p0"),
        ("dealer", "Exchange", "Exchange is for p0"),
        ("p0", "Deal", "Deal is for dealer"),
        ("owner", "Deal", "Deal is for dealer"),
    ],
)
def test_streams_are_for_certain_roles_only(
    dialer_of: Callable[[str], Dialer], role: str, stream: str, words: str
) -> None:
    with pytest.raises(HandshakeError, match=f"role differs: this side has '{words}', the other side '{role}'"):
        dialer_of(role).dial("p1", stream, hello(role))


@pytest.mark.parametrize("role", ["client", "owner"])
def test_a_session_id_serves_once(dialer_of: Callable[[str], Dialer], role: str) -> None:
    message = hello(role)
    dialer = dialer_of(role)
    link, accept = dialer.dial("p1", "Run", message)
    assert accept.hello.role == "p1"
    link.expect_end()
    with pytest.raises(HandshakeError, match=f"session id differs: .* the other side '{message.session}'"):
        dialer.dial("p1", "Run", message)


@pytest.mark.parametrize("session", ["", "ab", "Z" * 32, "AB" * 16])
def test_a_session_id_is_16_bytes_in_hex(dialer_of: Callable[[str], Dialer], session: str) -> None:
    message = hello()
    message.session = session
    with pytest.raises(ProtocolError, match="a session id must be 16 bytes in hex"):
        dialer_of("client").dial("p1", "Run", message)


@pytest.mark.parametrize("field", ["model_digest", "policy_digest", "load_id"])
def test_a_model_that_differs_is_refused(
    dialer_of: Callable[[str], Dialer], client: Client, manifest: FakeManifest, field: str
) -> None:
    message = hello(model_digest=manifest.digest, policy_digest=manifest.policy.digest(), load_id="?")
    message.kind = Kind.KIND_PREDICT
    dialer = dialer_of("client")
    message.load_id = client._load_ids[manifest.digest]
    setattr(message, field, "00")
    kind, words = HandshakeError, f"{field.replace('_', ' ')} differs: .*, the other side '00'"
    if field != "policy_digest":
        # Which load there is instead is not told.
        kind, words = ModelNotLoaded, "p0 has no model .* as it was loaded by this client"
    with pytest.raises(kind, match=words):
        dialer.dial("p0", "Run", message)


def test_peers_that_disagree_are_told_at_both_sides(dialer_of: Callable[[str], Dialer], manifest: FakeManifest) -> None:
    """A p0 that states another model than the client does, seen from p0 and from the client."""
    stated = hello(model_digest=manifest.digest, policy_digest=manifest.policy.digest())
    stated.kind = Kind.KIND_LOAD
    stated.load_id = stated.session
    run, _ = dialer_of("client").dial("p1", "Run", stated)
    run.send_message(manifest.to_json().encode())
    exchange_hello = as_role(stated, "p0")
    exchange_hello.model_digest = "00"
    words = f"p1 with p0: model digest differs: this side has '{manifest.digest}', the other side '00'"
    with pytest.raises(HandshakeError, match=words):
        dialer_of("p0").dial("p1", "Exchange", exchange_hello)
    with pytest.raises(HandshakeError, match=words):
        run.receive()


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
def test_all_roles_must_have_the_same_request(
    client: Client, manifest: FakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that tells p1 another one than p0 and the dealer, seen by an honest client and by p1's peers."""
    dial = Dialer.dial

    def lie(self: Dialer, peer: str, stream: str, hello: Hello, *more: Any, **options: Any) -> tuple[Link, Accept]:
        if (peer, stream) == ("p1", "Run"):
            told = Hello()
            told.CopyFrom(hello)
            told.request = FakeRequest(layers=4).to_json()
            hello = told
        return dial(self, peer, stream, hello, *more, **options)

    monkeypatch.setattr(Dialer, "dial", lie)
    words = "SHA-256 of the request differs: this side has '[0-9a-f]{64}', the other side '[0-9a-f]{64}'"
    with pytest.raises(HandshakeError, match=f"client with p1: {words}"):
        client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(layers=3), (b"", b""))
    monkeypatch.setattr(Run, "_check", lambda *arguments: None)
    with pytest.raises(HandshakeError, match=rf"(p\d|dealer) with (p\d|dealer): {words}"):
        client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(layers=3), (b"", b""))


@pytest.mark.parametrize("rendezvous_seconds", [1.0])
def test_a_stream_that_no_session_claims_is_released(dialer_of: Callable[[str], Dialer]) -> None:
    with pytest.raises(PartyAbsent, match=r"p1 waited 4\.0 s for client, which did not connect to it"):
        dialer_of("p0").dial("p1", "Exchange", hello("p0"))
