"""What a caller with a good certificate can send that no client of ours does: parties refuse it, and serve on."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from secure.parties.client.client import Client
from secure.parties.config import PartiesSettings
from secure.parties.process.server import PartyServer
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.transport.dialer import SERVICE
from secure.parties.transport.frames import DataFrame, encode
from secure.parties.transport.identity import Identity
from secure.parties.transport.wire_pb2 import Accept, End, Failure, Frame, Hello, Join, Kind, Progress, Report, Stored
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

MANIFEST = FakeManifest()
STREAMS = ("Run", "Run", "Run", "Queue", "Abandon", "Probe", "Status", "Exchange", "Deal", "Stock", "Reconcile")
"""A client may open the first ones; the others are not for it, or not there."""
_ANSWER_SECONDS = 60.0


def hello(chance: random.Random) -> Hello:
    """A Hello in which some fields are right, and some are not."""
    return Hello(
        protocol_version=PROTOCOL_VERSION if chance.random() < 0.9 else chance.randrange(1 << 32),
        session=new_session_id()
        if chance.random() < 0.9
        else chance.choice(["", "x" * 32, "0" * 31, "é" * 16, "0" * 5000]),
        role=chance.choice(["client"] * 6 + ["owner", "p1", "", "p" * 1000]),
        kind=chance.choice([*Kind.values(), 77]),
        model_digest=chance.choice([MANIFEST.digest, "", "0" * 64, "é"]),
        policy_digest=chance.choice([MANIFEST.policy.digest(), "", "1"]),
        load_id=chance.choice(["", "0" * 32]),
        request=chance.choice([FakeRequest().to_json(), "", "{", "[]", '{"layers": -1}', "[" * 3000, "\0"]),
        family=chance.choice(["beaver"] * 6 + ["", "replicated"]),
        profile=chance.choice(["near"] * 6 + ["", "far", "auto"]),
        uploads_share=chance.random() < 0.5,
        from_stock=chance.random() < 0.1,
        deal=chance.choice(["", "", "0" * 32, "x"]),
        count=chance.choice([0, 1, (1 << 32) - 1]),
        deal_bytes=chance.choice([0, (1 << 64) - 1]),
    )


def frame(chance: random.Random, sequence: int) -> bytes:
    """One frame: of each kind there is, at times with another number, cut, turned over in a bit, or no frame at all."""
    kinds = (
        Frame(hello=hello(chance)),
        Frame(accept=Accept(hello=hello(chance))),
        Frame(progress=Progress(index=chance.randrange(1 << 32))),
        Frame(report=Report(rows_json="[" * 100)),
        Frame(failure=Failure(code=chance.choice(["InputError", "", "SystemExit"]), message="x" * 100)),
        Frame(end=End()),
        Frame(join=Join(wanted=True)),
        Frame(stored=Stored(deal="0")),
        Frame(),
    )
    number = sequence if chance.random() < 0.9 else chance.randrange(1 << 64)
    if chance.random() < 0.4:
        sizes = [0, 1, 3, 1 << 20, 1 << 40, (1 << 64) - 1]
        data = encode(DataFrame(number, chance.choice(sizes), chance.randbytes(chance.choice([0, 1, 3, 1000]))))
    else:
        made = chance.choice(kinds)
        made.sequence = number
        data = made.SerializeToString()
    fate = chance.random()
    if fate < 0.1:
        return data[: chance.randrange(len(data) + 1)]
    if fate < 0.2 and data:
        at = chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    return chance.randbytes(chance.randrange(200)) if fate < 0.25 else data


def frames(chance: random.Random) -> Iterator[bytes]:
    """A stream: mostly a Hello first."""
    first = Frame(hello=hello(chance))
    yield first.SerializeToString() if chance.random() < 0.8 else frame(chance, 0)
    for number in range(chance.choice([0, 0, 1, 2, 6])):
        yield frame(chance, 1 + number)


def send(channel: grpc.Channel, chance: random.Random) -> None:
    """One stream, to its end, or dropped in the middle."""
    method = channel.stream_stream(f"/{SERVICE}/{chance.choice(STREAMS)}", as_it_is, as_it_is)
    call = method(frames(chance), timeout=_ANSWER_SECONDS)
    if chance.random() < 0.3:
        call.cancel()
        return
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED, "the party neither answered nor ended the stream"


def free_again(server: PartyServer) -> bool:
    """Whether all places are free; one that was kept for somebody who did not come, when the next one asks."""
    server._places.leave("nobody's", Identity("client", "nobody"))
    return not server._places._places


def as_it_is(message: bytes) -> bytes:
    return message


@pytest.fixture
def settings(settings: PartiesSettings) -> PartiesSettings:
    limits = replace(settings.limits, idle_seconds=0.3, rendezvous_seconds=0.3, sessions=4, busy_seconds=60.0)
    return replace(settings, limits=limits)


@pytest.mark.parametrize(
    "count", [40, pytest.param(1500, marks=(pytest.mark.slow, pytest.mark.timeout(1200)))], ids=["few", "many"]
)
@pytest.mark.parametrize("role", ["p0", "p1", "dealer"])
def test_a_party_serves_on_after_streams_that_are_none(
    local_parties: LocalParties, shares: dict[str, Path], caplog: pytest.LogCaptureFixture, role: str, count: int
) -> None:
    chance, server = random.Random(f"{role} {count}"), local_parties.servers[role]
    patient = replace(
        local_parties.settings, limits=replace(local_parties.settings.limits, rendezvous_seconds=_ANSWER_SECONDS)
    )
    with Client(patient) as client:
        client.load_model(MANIFEST, shares)
        before = threading.active_count()
        for _ in range(count):
            send(client._dialer.channel(role), chance)
        eventually(lambda: server.sessions == server.client_streams == 0)
        eventually(lambda: not server._registry._offers and not server._places._turns)
        client.load_model(MANIFEST, shares)  # which an owner's unload may have taken
        client.predict(MANIFEST.digest, MANIFEST.policy.digest(), FakeRequest(), (b"ab", b"cd"))
        said = max(map(len, caplog.messages))
        assert said < 5000, "a log is not written by whoever has most to say"
        eventually(lambda: free_again(server))
        # gRPC's pool keeps the threads that it once had, and nothing else is left.
        others = [each for each in threading.enumerate() if not each.name.startswith("stream")]
        eventually(lambda: sum(each.is_alive() for each in others) <= before)
