"""The generation party over gRPC: who may call, limits, and what ends a call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from secure.ee.engine.server_engine import TransformersEngine
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from secure.parties.encrypted.tokens import SamplingParameters
from secure.parties.launcher import free_addresses
from secure.parties.transport.certificates import own
from secure.protocols.core.errors import (
    ConfigurationError,
    HandshakeError,
    InputError,
    PartyLost,
    PortInUse,
    ServerBusy,
    ServerUnreachable,
)
from tests.secure.ee.fakes import KEY_CHECK, FakeEngine, Relay
from tests.secure.ee.serving import Start, drain
from tests.secure.ee.tiny import Tiny

Connect = Callable[..., GenerationClient]
SECONDS = 60.0


# who may call


def test_a_wrong_key_is_found_before_an_id_is_sent(start: Start, connect: Connect, engine: FakeEngine) -> None:
    client = connect(start(engine), "ab" * 16)
    with pytest.raises(HandshakeError, match="before the first token: key check value differs"):
        client.generate([1, 2, 3], SamplingParameters(4))
    with pytest.raises(HandshakeError, match="key check value"):
        client.embed(EncoderInputs([[1, 2]]))
    with pytest.raises(HandshakeError, match="key check value"):
        client.sequence()
    assert engine.prompts == []


def test_a_server_whose_checkpoint_changed_refuses(start: Start, connect: Connect, engine: FakeEngine) -> None:
    client = connect(start(engine), KEY_CHECK)
    client.describe()
    engine.served = FakeEngine("cd" * 16).served  # as after a restart with another checkpoint
    with pytest.raises(HandshakeError, match="key check value differs"):
        drain(client, [1, 2], SamplingParameters(4))
    with client.sequence() as sequence, pytest.raises(HandshakeError, match="key check value differs"):
        sequence.extend(torch.zeros(1, 4))
    assert engine.prompts == []


def test_only_clients_of_the_same_authority_may_call(
    start: Start, engine: FakeEngine, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = start(engine)
    make_generation_certificates(tmp_path / "other")
    with (
        GenerationClient(f"127.0.0.1:{port}", tmp_path / "other", KEY_CHECK, connect_seconds=0.5) as client,
        pytest.raises(HandshakeError, match="certificate differs"),
    ):
        client.describe()
    # The server's own certificate is of this authority, but it is no client's.
    posing = tmp_path / "posing"
    posing.mkdir()
    for name, source in (
        ("authority.crt", "authority.crt"),
        ("client.crt", "server.crt"),
        ("client.key", "server.key"),
    ):
        (posing / name).write_bytes((certificates / source).read_bytes())
    monkeypatch.setattr(own, "_check", lambda *arguments: None)  # which an attacker's own program leaves out
    with (
        GenerationClient(f"127.0.0.1:{port}", posing, KEY_CHECK) as client,
        pytest.raises(HandshakeError, match="role differs: this side has 'client'"),
    ):
        client.describe()


def test_nobody_there(connect: Connect) -> None:
    address = free_addresses()["p0"]
    client = connect(int(address.rpartition(":")[2]), KEY_CHECK, connect_seconds=0.2)
    with pytest.raises(ServerUnreachable, match=rf"server at {address} did not answer .*secure ee serve"):
        client.describe()


def test_a_port_in_use(start: Start, engine: FakeEngine) -> None:
    port = start(engine)
    with pytest.raises(PortInUse, match="port is in use"):
        start(engine, address=f"127.0.0.1:{port}")


def test_certificates_are_needed(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"authority\.crt: cannot be read"):
        GenerationClient("127.0.0.1:1", tmp_path, KEY_CHECK)


# limits


@pytest.mark.parametrize(
    ("ids", "sampling", "message"),
    [
        ([], SamplingParameters(1), "prompt is empty"),
        ([1] * 21, SamplingParameters(1), "prompt has 21 tokens; this server takes at most 20"),
        ([1], SamplingParameters(31), "max_tokens is 31; this server gives at most 30"),
        ([1, 1 << 20], SamplingParameters(1), "must be from 0 to 1048575"),
        ([1], SamplingParameters(1, stop_ids=(1 << 20,)), "must be from 0 to 1048575"),
    ],
)
def test_prompts_beyond_the_limits(
    start: Start, connect: Connect, engine: FakeEngine, ids: list[int], sampling: SamplingParameters, message: str
) -> None:
    client = connect(start(engine, GenerationLimits(prompt_tokens=20, new_tokens=30)), KEY_CHECK)
    with pytest.raises(InputError, match=message):
        drain(client, ids, sampling)
    assert engine.prompts == []


def test_a_prompt_and_its_tokens_must_fit_the_model(
    start: Start, connect: Connect, tiny: Tiny, tiny_engine: TransformersEngine
) -> None:
    client = connect(start(tiny_engine), tiny.key.check_value)
    with pytest.raises(InputError, match="are 257 together; this model has room for 256"):
        drain(client, [5] * 200, SamplingParameters(57))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": -1},
        {"seed": 1 << 63},
    ],
)
def test_sampling_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)).replace("max_new_tokens", "max_tokens")):
        SamplingParameters(**{"max_new_tokens": 1, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 65])
def test_rows_beyond_the_limit(start: Start, connect: Connect, engine: FakeEngine, count: int) -> None:
    with pytest.raises(InputError, match=f"{count} rows; this server takes 1 to 64"):
        connect(start(engine), KEY_CHECK).embed(EncoderInputs([[1]] * count))


def test_requests_beyond_the_limit_are_refused_and_later_ones_served(
    start: Start, connect: Connect, engine: FakeEngine
) -> None:
    engine.hold = threading.Event()
    client = connect(start(engine, GenerationLimits(requests=1)), KEY_CHECK)
    held = client.generate([1], SamplingParameters(3))
    assert next(held).ids == [2]
    with pytest.raises(ServerBusy, match="computes 1 requests already"):
        drain(client, [1], SamplingParameters(1))
    with pytest.raises(ServerBusy):
        client.embed(EncoderInputs([[1]]))
    engine.hold.set()
    assert [piece.ids for piece in held] == [[3], [4], []]
    assert client.embed(EncoderInputs([[1, 2]])).tolist() == [[3.0]]


# clients that go away


def test_a_cancelled_generation_stops_the_engine(start: Start, connect: Connect, engine: FakeEngine) -> None:
    engine.hold = threading.Event()
    client = connect(start(engine, GenerationLimits(requests=1)), KEY_CHECK)
    with client.generate([1], SamplingParameters(4000)) as stream:
        assert next(stream).ids == [2]
        assert not engine.ended.is_set()
    assert engine.ended.wait(SECONDS)


def test_a_lost_connection_stops_the_engine(start: Start, connect: Connect, engine: FakeEngine) -> None:
    engine.hold = threading.Event()
    relay = Relay(start(engine))
    stream = connect(relay.port, KEY_CHECK).generate([1], SamplingParameters(4000))
    assert next(stream).ids == [2]
    relay.close()
    assert engine.ended.wait(SECONDS)
    with pytest.raises(PartyLost, match="server went away during Generate"):
        next(stream)


def test_a_stopped_server_ends_its_streams(certificates: Path, connect: Connect, engine: FakeEngine) -> None:
    engine.hold = threading.Event()
    server = GenerationServer("127.0.0.1:0", certificates, engine)
    stream = connect(server.start(), KEY_CHECK).generate([1], SamplingParameters(4000))
    assert next(stream).ids == [2]
    server.stop(0)
    assert engine.ended.is_set()
    with pytest.raises(PartyLost):
        list(stream)


def test_a_sequence_takes_only_embeddings_of_the_models_width(
    start: Start, connect: Connect, engine: FakeEngine
) -> None:
    client = connect(start(engine), KEY_CHECK)
    for wrong in (torch.ones(2, 5), torch.ones(0, 4), torch.ones(4)):
        with client.sequence() as sequence, pytest.raises(InputError, match=r"must be \[positions, 4\]"):
            sequence.extend(wrong)
