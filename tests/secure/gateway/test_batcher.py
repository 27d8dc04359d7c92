"""Rows of many callers in few sessions."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from secure.gateway.batcher import Batcher
from secure.http.callers import ASKED, Asked, Caller
from secure.protocols.core.errors import InputError, SessionError
from tests.parties.local import eventually


class Sessions:
    """Stands for the parties: each call waits until the test lets it go on. A row's vector is its one id."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        self.batches.append([row[0] for row in rows])
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        if 13 in self.batches[-1]:
            raise InputError("not that one")
        return torch.tensor(rows).float()


def _called(batcher: Batcher, request: Asked, rows: list[list[int]]) -> list[list[float]]:
    ASKED.set(request)
    return batcher(rows)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def batcher(sessions: Sessions) -> Iterator[Batcher]:
    made = Batcher(sessions, most_rows=4)
    yield made
    sessions.go_on.release(100)
    made.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_what_arrives_during_a_session_goes_out_together(
    sessions: Sessions, batcher: Batcher, callers: ThreadPoolExecutor
) -> None:
    first = callers.submit(batcher, [[1]])
    assert sessions.begun.acquire(timeout=30)
    others = [callers.submit(batcher, [[id]]) for id in (2, 3)]
    eventually(lambda: len(batcher._waiting) == 2)
    sessions.go_on.release(2)
    assert first.result(30) == [[1.0]]
    assert [other.result(30) for other in others] == [[[2.0]], [[3.0]]]
    assert sessions.batches[0] == [1] and sorted(sessions.batches[1]) == [2, 3]


def test_no_session_has_more_rows_than_are_allowed_and_each_caller_gets_its_own(
    sessions: Sessions, batcher: Batcher, callers: ThreadPoolExecutor
) -> None:
    sessions.go_on.release(100)
    found = [callers.submit(batcher, [[10 * n + i] for i in range(3)]) for n in range(2, 10)]
    assert [one.result(30) for one in found] == [[[10.0 * n + i] for i in range(3)] for n in range(2, 10)]
    assert max(map(len, sessions.batches)) <= 4 and sum(map(len, sessions.batches)) == 24


def test_an_error_is_that_of_its_session_alone(sessions: Sessions, batcher: Batcher) -> None:
    sessions.go_on.release(2)
    with pytest.raises(InputError, match="not that one"):
        batcher([[13]])
    assert batcher([[14]]) == [[14.0]]


def test_callers_take_turns_and_one_who_is_gone_has_none(
    sessions: Sessions, batcher: Batcher, callers: ThreadPoolExecutor
) -> None:
    def of(request: Asked, rows: list[list[int]]) -> Future[list[list[float]]]:
        return callers.submit(contextvars.copy_context().run, _called, batcher, request, rows)

    first = callers.submit(batcher, [[1]])
    assert sessions.begun.acquire(timeout=30)
    alice, bob, gone = (Asked(Caller(name)) for name in ("alice", "bob", "carol"))
    many = of(alice, [[10], [11], [12], [13 + 1], [15]])
    eventually(lambda: len(batcher._waiting) == 5)
    one, left = of(bob, [[20]]), of(gone, [[30]])
    eventually(lambda: len(batcher._waiting) == 7)
    gone.gone.set()
    sessions.go_on.release(10)
    assert first.result(30) == [[1.0]] and one.result(30) == [[20.0]]
    assert many.result(30) == [[10.0], [11.0], [12.0], [14.0], [15.0]]
    with pytest.raises(SessionError, match="went away"):
        left.result(30)
    assert sessions.batches[1] == [10, 20, 11] and (alice.sessions, bob.sessions) == ([2, 3], [2])


def test_at_the_end_whoever_waits_is_told(sessions: Sessions, callers: ThreadPoolExecutor) -> None:
    batcher = Batcher(sessions, most_rows=4)
    running = callers.submit(batcher, [[1]])
    assert sessions.begun.acquire(timeout=30)
    waiting = callers.submit(batcher, [[2]])
    eventually(lambda: len(batcher._waiting) == 1)
    closing = callers.submit(batcher.close)
    with pytest.raises(SessionError, match="stopping"):
        waiting.result(30)
    sessions.go_on.release()
    assert running.result(30) == [[1.0]]
    closing.result(30)
    with pytest.raises(SessionError, match="stopping"):
        batcher([[3]])
