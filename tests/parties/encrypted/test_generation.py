"""The generation party over gRPC: what comes out, and what travels."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaForCausalLM

from secure.ee.engine.server_engine import TransformersEngine
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.generation_pb2 import GenerateRequest, Tokens
from secure.parties.encrypted.tokens import SamplingParameters
from secure.parties.encrypted.values import from_values, to_values
from secure.protocols.core.errors import InputError, ProtocolError
from tests.secure.ee.fakes import KEY_CHECK, FakeEngine, Relay
from tests.secure.ee.serving import Start, drain
from tests.secure.ee.tiny import Tiny

Connect = Callable[..., GenerationClient]


def test_no_call_goes_to_a_proxy(proxy: socket.socket, start: Start, connect: Connect, engine: FakeEngine) -> None:
    assert connect(start(engine), KEY_CHECK).describe().key_check == KEY_CHECK
    with pytest.raises(BlockingIOError):
        proxy.accept()


# what comes out


@pytest.mark.parametrize("at_once", [False, True])
def test_greedy_equals_plain_generation(
    start: Start, connect: Connect, tiny: Tiny, tiny_engine: TransformersEngine, at_once: bool
) -> None:
    client = connect(start(tiny_engine), tiny.key.check_value)
    prompt = tiny.tokenizer("the cat sat")["input_ids"]
    received = drain(client, tiny.vocabulary.encrypt_ids(prompt), SamplingParameters(40), at_once=at_once)
    assert tiny.vocabulary.decrypt_ids(received) == tiny.greedy(prompt, 40)
    assert received != tiny.greedy(prompt, 40)


def test_a_seed_repeats_a_draw_and_seeds_differ(
    start: Start, connect: Connect, tiny: Tiny, tiny_engine: TransformersEngine
) -> None:
    client = connect(start(tiny_engine), tiny.key.check_value)

    def draw(seed: int | None, **sampling: float) -> list[int]:
        return drain(client, [5, 6, 7], SamplingParameters(24, temperature=2.0, seed=seed, **sampling))

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in (1, 2, 3, None)}) == 4
    # So small a nucleus holds the likeliest token alone.
    assert draw(1, top_p=1e-6) == drain(client, [5, 6, 7], SamplingParameters(24))


def test_a_stop_id_ends_the_stream_and_is_its_last_id(start: Start, connect: Connect, engine: FakeEngine) -> None:
    stream = connect(start(engine), KEY_CHECK).generate([10], SamplingParameters(100, stop_ids=(14, 20)))
    pieces = list(stream)
    assert [token for piece in pieces for token in piece.ids] == [11, 12, 13, 14]
    assert pieces[-1].finish == "stop"
    stream = connect(start(engine), KEY_CHECK).generate([10], SamplingParameters(3))
    pieces = list(stream)
    assert [piece.ids for piece in pieces] == [[11], [12], [13], []]
    assert pieces[-1].finish == "length"


def test_embeddings_and_split_mode_equal_the_model(
    start: Start, connect: Connect, tiny: Tiny, tiny_engine: TransformersEngine
) -> None:
    client = connect(start(tiny_engine), tiny.key.check_value)
    body = LlamaForCausalLM.from_pretrained(tiny.encrypted).base_model
    rows = [[9, 8, 7, 6], [5, 4]]
    with torch.no_grad():
        expected = [body(torch.tensor([row])).last_hidden_state[0] for row in rows]
        embedded = body.embed_tokens(torch.tensor(rows[0]))
    for pooling, reduce in (("mean", lambda h: h.mean(0)), ("first", lambda h: h[0]), ("last", lambda h: h[-1])):
        result = client.embed(EncoderInputs(rows), pooling)
        torch.testing.assert_close(result, torch.stack([reduce(hidden) for hidden in expected]))
    padded = client.embed(EncoderInputs(rows), "none")
    torch.testing.assert_close(padded[0], expected[0])
    torch.testing.assert_close(padded[1, :2], expected[1])
    assert not padded[1, 2:].any()
    with client.sequence() as sequence:
        hidden = [sequence.extend(embedded[:3]), sequence.extend(embedded[3:])]
    torch.testing.assert_close(torch.cat(hidden), expected[0])
    with pytest.raises(InputError, match="no classifier"):
        client.classify(EncoderInputs(rows))


# the wire


def test_ids_take_four_bytes_each_way() -> None:
    """Of messages: the second thousand of ids adds 4,000 bytes to a request, and to an answer."""

    def request(count: int) -> int:
        return len(
            GenerateRequest(key_check=KEY_CHECK, ids=range(count), max_new_tokens=9, top_p=1).SerializeToString()
        )

    def answer(count: int) -> int:
        return len(Tokens(ids=range(count), finish="length").SerializeToString())

    assert request(3000) - request(2000) == answer(3000) - answer(2000) == 4000
    # Streamed, each message has a tag and a length beside its 4 bytes.
    assert len(Tokens(ids=[2**32 - 1]).SerializeToString()) == 6


def test_bytes_on_the_socket_grow_by_four_a_token(start: Start, connect: Connect, engine: FakeEngine) -> None:
    """Counted at a TCP relay, TLS and HTTP/2 included: the growth is 4 bytes a token, within 2 % for framing."""
    relay = Relay(start(engine))
    client = connect(relay.port, KEY_CHECK)

    def transfer(ids_in: int, ids_out: int) -> tuple[int, int]:
        before = len(relay.sent), len(relay.received)
        assert len(drain(client, [1] * ids_in, SamplingParameters(ids_out), at_once=True)) == ids_out
        return len(relay.sent) - before[0], len(relay.received) - before[1]

    def least(ids_in: int, ids_out: int) -> tuple[int, int]:
        """Of several transfers, as pings and window updates come between by chance."""
        sent, received = zip(*(transfer(ids_in, ids_out) for _ in range(5)), strict=True)
        return min(sent), min(received)

    transfer(1, 1)  # the connection and Describe
    small, large_in, large_out = least(1, 1), least(7001, 1), least(1, 3001)
    relay.close()
    assert 27_900 <= large_in[0] - small[0] <= 28_300
    assert 11_900 <= large_out[1] - small[1] <= 12_200


def test_neither_log_nor_wire_has_ids(
    start: Start, connect: Connect, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay(start(engine))
    ids = list(range(700_001, 700_041))
    with caplog.at_level(logging.DEBUG):
        client = connect(relay.port, KEY_CHECK)
        drain(client, ids, SamplingParameters(8))
        engine.error = ValueError(f"value {ids}")
        with pytest.raises(ProtocolError, match="failed during Generate with ValueError"):
            drain(client, ids, SamplingParameters(8))
    relay.close()
    assert "Generate: 40 tokens in, 8 out" in caplog.text
    assert "ValueError" in caplog.text
    assert "7000" not in caplog.text
    # TLS: not one id in its bytes either way.
    assert all(token.to_bytes(4, "little") not in relay.sent + relay.received for token in ids)
    assert b"secure_inference" not in relay.sent


# tensors


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_keep_every_bit(dtype: torch.dtype) -> None:
    tensor = torch.linspace(-3, 3, 24).to(dtype).view(2, 3, 4).transpose(0, 2)
    back = from_values(to_values(tensor))
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


def test_tensors_that_do_not_fit_their_shape_are_refused() -> None:
    values = to_values(torch.ones(2, 3))
    values.shape[1] = 4
    with pytest.raises(InputError, match="24 bytes do not have the shape"):
        from_values(values)
    values.type = "int8"
    with pytest.raises(InputError, match="values of type 'int8'"):
        from_values(values)
