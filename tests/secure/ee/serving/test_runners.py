"""One interface, three makers: the engine of this process, a gRPC party, an HTTP endpoint. The rules are the same."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import torch

from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.http.ids_server import ids_app
from secure.ee.http.runner import HttpRunner
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import EncoderInputs, GenerationEngine
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.runner import EngineRunner, Runner
from secure.parties.encrypted.tokens import SamplingParameters, TokenPieces
from secure.protocols.core.errors import InputError, ServerBusy
from tests.secure.ee.serving.conftest import Start
from tests.secure.ee.serving.fakes import FakeEngine
from tests.secure.ee.serving.tiny import Tiny

SECONDS = 60.0
Make = Callable[[GenerationEngine], Runner]


@pytest.fixture(params=["here", "grpc", "http"])
def make(
    request: pytest.FixtureRequest, tiny: Tiny, start: Start, serve_http: Callable[..., int], certificates: Path
) -> Iterator[Make]:
    """What runs an engine that takes two requests at a time."""
    limits = GenerationLimits(requests=2)
    made: list[Runner] = []

    def begin(engine: GenerationEngine) -> Runner:
        admission = Admission(engine.served, limits)
        if request.param == "here":
            made.append(EngineRunner(engine, admission))
        elif request.param == "grpc":
            address, check = f"127.0.0.1:{start(engine, limits)}", tiny.checkpoint.check_served
            made.append(GenerationClient(address, certificates, tiny.key.check_value, check_manifest=check))
        else:
            connect = partial(httpx.Client, base_url=f"http://127.0.0.1:{serve_http(ids_app(engine, admission))}")
            made.append(HttpRunner(partial(connect, timeout=60), tiny.checkpoint, None, unchecked=False))
        return made[-1]

    yield begin
    for runner in made:
        runner.close()


@pytest.fixture
def watched(engine: FakeEngine, tiny: Tiny) -> FakeEngine:
    """An engine that can be held, with the checkpoint of `tiny`."""
    manifest = (tiny.encrypted / "encryption.json").read_text()
    engine.served = dataclasses.replace(engine.served, key_check=tiny.key.check_value, manifest=manifest)
    return engine


def read(pieces: TokenPieces) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


@pytest.mark.parametrize("at_once", [False, True])
class TestRunner:
    def test_it_generates_what_the_plain_model_does(
        self, make: Make, tiny: Tiny, tiny_engine: TransformersEngine, at_once: bool
    ) -> None:
        runner, prompt = make(tiny_engine), tiny.tokenizer("the cat sat")["input_ids"]
        assert runner.room().context_tokens == tiny_engine.served.context_tokens
        with runner.generate(tiny.vocabulary.encrypt_ids(prompt), SamplingParameters(24), at_once=at_once) as pieces:
            found = read(pieces)
        assert tiny.vocabulary.decrypt_ids(found) == tiny.greedy(prompt, 24)

    def test_the_last_piece_says_why_it_ended(self, make: Make, watched: FakeEngine, at_once: bool) -> None:
        runner = make(watched)
        for sampling, ids, finish in (
            (SamplingParameters(3), [11, 12, 13], "length"),
            (SamplingParameters(9, stop_ids=(12,)), [11, 12], "stop"),
        ):
            pieces = list(runner.generate([10], sampling, at_once=at_once))
            assert [token for piece in pieces for token in piece.ids] == ids
            assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + [finish]
            assert len(pieces) == 1 if at_once else len(pieces) > len(ids)

    def test_a_seed_repeats_a_draw(self, make: Make, tiny_engine: TransformersEngine, at_once: bool) -> None:
        runner = make(tiny_engine)

        def draw(seed: int) -> list[int]:
            return read(runner.generate([5, 6], SamplingParameters(16, temperature=2.0, seed=seed), at_once=at_once))

        assert draw(1) == draw(1) != draw(2)

    def test_closing_ends_the_engine_while_another_thread_waits(
        self, make: Make, watched: FakeEngine, at_once: bool
    ) -> None:
        watched.hold = threading.Event()
        pieces = make(watched).generate([1], SamplingParameters(4000), at_once=at_once)
        ends: list[object] = []

        def wait() -> None:
            try:
                ends.append(read(pieces))
            except Exception as error:
                ends.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert watched.first_token.wait(SECONDS)
        assert not watched.ended.is_set()
        pieces.close()
        assert watched.ended.wait(SECONDS)
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert isinstance(ends[0], list)

    def test_requests_beyond_the_limit_are_refused(self, make: Make, watched: FakeEngine, at_once: bool) -> None:
        watched.hold = threading.Event()
        runner = make(watched)
        held = [runner.generate([1], SamplingParameters(2)) for _ in range(2)]
        assert [next(pieces).ids for pieces in held] in ([[2], [2]], [(2,), (2,)])
        with pytest.raises(ServerBusy, match="computes 2 requests already"):
            read(runner.generate([1], SamplingParameters(1), at_once=at_once))
        watched.hold.set()
        assert [read(pieces) for pieces in held] == [[3], [3]]

    def test_what_is_wrong_reaches_no_engine(self, make: Make, watched: FakeEngine, at_once: bool) -> None:
        runner = make(watched)
        for ids in ([], [1 << 20], [1] * ((1 << 16) + 1)):
            with pytest.raises(InputError):
                read(runner.generate(ids, SamplingParameters(1), at_once=at_once))
        assert watched.prompts == []


def test_embeddings_classes_and_sequences(make: Make, watched: FakeEngine) -> None:
    runner = make(watched)
    inputs = EncoderInputs([[1, 2], [5]])
    if isinstance(runner, HttpRunner):
        for call in (lambda: runner.embed(inputs), lambda: runner.classify(inputs), runner.sequence):
            with pytest.raises(InputError, match="an HTTP endpoint of ids has no"):
                call()
        return
    assert runner.embed(inputs).tolist() == [[3.0], [5.0]]
    assert runner.classify(inputs).tolist() == [[3.0], [5.0]]
    with runner.sequence() as sequence:
        assert sequence.extend(torch.ones(2, 4))[-1].tolist() == [2.0] * 4
        assert sequence.extend(torch.ones(1, 4))[-1].tolist() == [3.0] * 4
    with pytest.raises(InputError, match="0 rows"):
        runner.embed(EncoderInputs())
