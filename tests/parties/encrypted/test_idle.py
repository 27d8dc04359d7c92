"""Split mode's idle time is the client's: while the server computes it does not run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secure.parties.encrypted.calls import Idle
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import HiddenSequence
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from secure.protocols.core.errors import PartyLost
from tests.secure.ee.serving.fakes import KEY_CHECK, FakeEngine


class Call:
    """As much of a call as an idle time ends."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_call_ends_when_its_time_is_over() -> None:
    call = Call()
    Idle(call, 0.01)  # type: ignore[arg-type]
    assert call.cancelled.wait(60)


def test_a_call_whose_time_was_stopped_goes_on() -> None:
    call = Call()
    idle = Idle(call, 3600)  # type: ignore[arg-type]
    idle.stop()
    assert idle._timer is not None
    idle._timer.join(60)
    assert not idle._timer.is_alive() and not call.cancelled.is_set()


class Watch(Idle):
    """An idle time that is over when a test says so."""

    runs = False

    def again(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False

    def expire(self) -> None:
        assert self.runs
        self._context.cancel()


def test_a_client_that_waits_for_an_answer_is_not_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watches: list[Watch] = []
    ran: list[bool] = []

    def watch(*arguments: object) -> Watch:
        watches.append(Watch(*arguments))  # type: ignore[arg-type]
        return watches[-1]

    class Answers(HiddenSequence):
        def extend(self, embeddings: Tensor) -> Tensor:
            ran.append(watches[0].runs)
            return embeddings

    class Engine(FakeEngine):
        def begin(self) -> HiddenSequence:
            return Answers()

    monkeypatch.setattr("secure.parties.encrypted.server.Idle", watch)
    make_generation_certificates(tmp_path / "tls", {"server": ["127.0.0.1"]})
    server = GenerationServer("127.0.0.1:0", tmp_path / "tls", Engine(), GenerationLimits(requests=1))
    port = server.start()
    with GenerationClient(f"127.0.0.1:{port}", tmp_path / "tls", KEY_CHECK) as client, client.sequence() as sequence:
        for _ in range(2):
            assert sequence.extend(torch.ones(2, 4)).shape == (2, 4)
            assert watches[0].runs, "from its answer on a client may be idle"
        assert ran == [False, False]
        assert server.admission.running == 1
        watches[0].expire()
        assert server.admission.wait_until_idle(60)
        with pytest.raises(PartyLost):
            sequence.extend(torch.ones(1, 4))
    server.stop(0)
