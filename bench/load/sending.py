"""Requests sent by a number of clients: at given times (an open loop), or each client's next one after its last answer.

In an open loop a request that finds every client at work waits, and its seconds count from when it was due: nobody who
is slow to answer makes requests fewer, so that what waits is not hidden.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LIMIT_SECONDS = 3600.0
"""Nobody waits for a client for longer than that."""
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Sent:
    """What came of requests, in the order in which they were due.

    latencies: seconds until the answer; not a number where there was none. failures: number of a request → what it
    raised. seconds: of the whole run, waiting for the last answer included.
    """

    latencies: list[float]
    failures: dict[int, BaseException]
    seconds: float

    @property
    def answered(self) -> list[float]:
        """Seconds of those that have an answer."""
        return [latency for latency in self.latencies if not math.isnan(latency)]


def at_times(
    times: Sequence[float], clients: int, ask: Callable[[int], object], stop: threading.Event | None = None
) -> Sent:
    """Ask `ask(number)` at each of these seconds from now, in order, at most `clients` at a time.

    stop: when it is set, nothing more is sent, and what runs is waited for.
    """
    run = _Sending(ask, len(times), stop or threading.Event())
    due = threading.Semaphore(0)

    def client() -> None:
        while True:
            due.acquire()
            number = run.next()
            if number is None:
                return
            run.one(number, run.began + times[number])

    threads = run.start(client, clients)
    for seconds in times:
        if run.stop.wait(max(0.0, run.began + seconds - time.monotonic())):
            break
        due.release()
    due.release(clients)
    run.join(threads)
    return run.sent()


def back_to_back(clients: int, seconds: float, ask: Callable[[int], object]) -> Sent:
    """Have every client ask again as soon as it has an answer, or a moment after an error.

    What is answered after so many seconds does not count.
    """
    run = _Sending(ask, None, threading.Event())

    def client() -> None:
        while (begun := time.monotonic()) < run.began + seconds:
            if not run.one(run.next() or 0, begun, run.began + seconds):
                run.stop.wait(_PAUSE_SECONDS)

    run.join(run.start(client, clients))
    return run.sent()


class _Sending:
    def __init__(self, ask: Callable[[int], object], count: int | None, stop: threading.Event) -> None:
        self.stop = stop
        self.began = time.monotonic()
        self._ask = ask
        self._count = count
        self._taken = 0
        self._lock = threading.Lock()
        self._found: dict[int, float] = {}
        self._failures: dict[int, BaseException] = {}

    def start(self, client: Callable[[], None], clients: int) -> list[threading.Thread]:
        self.began = time.monotonic()
        threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def join(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            thread.join(LIMIT_SECONDS)

    def next(self) -> int | None:
        """The next request's number; None at the end."""
        with self._lock:
            if self.stop.is_set() or self._taken == self._count:
                return None
            self._taken += 1
            return self._taken - 1

    def one(self, number: int, due: float, until: float = math.inf) -> bool:
        """Ask, and note how long it took from when it was due; whether there is an answer.

        until: answers after it do not count.
        """
        try:
            self._ask(number)
        except BaseException as error:
            self._failures[number] = error
            return False
        if (now := time.monotonic()) <= until:
            self._found[number] = now - due
        return True

    def sent(self) -> Sent:
        count = self._taken if self._count is None else self._count
        latencies = [self._found.get(number, math.nan) for number in range(count)]
        return Sent(latencies, dict(self._failures), time.monotonic() - self.began)
