"""The load itself: requests sent to real parties as they arrive, and the simulator on the very same arrivals."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.private_inference.arrivals import Arrivals, bursts, poisson, trace
from bench.private_inference.comparing import compared
from bench.private_inference.constants import Garbler, measured, one_machine, system
from bench.private_inference.measuring import EXCLUDES, INCLUDES, constants_of
from bench.private_inference.services import Name, Service, running
from bench.private_inference.simulate import Run, System, simulate
from bench.private_inference.summary import figures, sustainable_rate, with_slots
from secure.protocols.core.errors import ConfigurationError

_LIMIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Load:
    """What is asked for. utilisations: parts of what the simulator sustains with these slots. seconds: of each run.

    arrivals: "poisson", "bursts", or a file of times.
    """

    what: Name
    garbler: Garbler
    slots: int
    utilisations: tuple[float, ...]
    seconds: float
    turns: int
    arrivals: str = "poisson"


def run(load: Load) -> dict[str, Any]:
    """Measure constants, then a run for each utilisation, all with the same parties. Returns the record."""
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, running(load.what, Path(folder), load.garbler) as service:
        constants = constants_of(service, load.what, load.turns, load.garbler)
        site = one_machine(os.cpu_count() or 1)
        model = with_slots(system(measured({"command": "", **constants}), site, {}, miss="demand"), load.slots)
        sustained = sustainable_rate(model)
        rows = [_row(service, model, load, utilisation, sustained) for utilisation in load.utilisations]
    return {
        "kind": "inference-load",
        "what": load.what,
        "arrivals": load.arrivals,
        "slots": load.slots,
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "load_average": before,
        "constants": constants,
        "sustainable_rate": sustained,
        "rows": rows,
    }


def arrivals_of(kind: str, rate: float, count: int) -> Arrivals:
    """What an option names: "poisson", "bursts", or a file. Raises ConfigurationError."""
    if kind == "poisson":
        return poisson(rate, count)
    return bursts(rate, count) if kind == "bursts" else trace(Path(kind))


def send(service: Service, times: Sequence[float], slots: int, sessions: int = 1) -> Run:
    """Requests at these times from now on, in order, to full stocks that are kept full. Waits for every answer.

    Raises what a making or an answer does.
    """
    return _Sending(service, times, slots, sessions).run()


def _row(service: Service, model: System, load: Load, utilisation: float, sustained: float) -> dict[str, Any]:
    rate = utilisation * sustained
    count = max(20, round(rate * load.seconds))
    times = arrivals_of(load.arrivals, rate, count)(np.random.default_rng(0))
    before = os.getloadavg()[0]
    real = send(service, times, load.slots)
    expected = simulate(model, times)
    found = {"real": figures(real), "simulated": figures(expected)}
    return {
        "utilisation": utilisation,
        "rate": rate,
        "requests": len(times),
        "seconds": real.seconds,
        "load_average": before,
        **found,
        **compared(found["real"], found["simulated"]),
    }


class _Sending:
    def __init__(self, service: Service, times: Sequence[float], slots: int, sessions: int) -> None:
        if slots < 1:
            raise ConfigurationError("give at least one slot; with none there is nothing to be made ahead")
        self._service = service
        self._times = [float(time) for time in times]
        self._slots = slots
        self._sessions = sessions
        self._free = threading.Semaphore(0)  # slots in which nothing is, and for which nothing is being made
        self._due: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._latencies = np.full(len(times), np.nan)
        self._hits = np.zeros(len(times), bool)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._began = 0.0

    def run(self) -> Run:
        self._service.empty()
        for _ in range(self._slots):
            self._service.fill()
        filler = threading.Thread(target=self._guarded, args=(self._fill,), daemon=True)
        workers = [
            threading.Thread(target=self._guarded, args=(self._answer,), daemon=True) for _ in range(self._sessions)
        ]
        self._began = time.monotonic()
        for thread in (filler, *workers):
            thread.start()
        for number, due in enumerate(self._times):
            if self._stopping.wait(max(0.0, self._began + due - time.monotonic())):
                break
            self._due.put(number)
        for _ in workers:
            self._due.put(None)
        for worker in workers:
            worker.join(_LIMIT_SECONDS)
        seconds = time.monotonic() - self._began
        self._stopping.set()
        self._free.release()
        filler.join(_LIMIT_SECONDS)
        if self._failure is not None:
            raise self._failure
        return Run(self._latencies, self._hits, seconds, {})

    def _answer(self) -> None:
        while (number := self._due.get()) is not None and not self._stopping.is_set():
            answer = self._service.answer()
            self._latencies[number] = time.monotonic() - self._began - self._times[number]
            self._hits[number] = answer.hit
            if answer.hit:
                self._free.release()

    def _fill(self) -> None:
        while True:
            self._free.acquire()
            if self._stopping.is_set():
                return
            self._service.fill()

    def _guarded(self, do: Callable[[], None]) -> None:
        """A thread's work; what it raises ends the run."""
        try:
            do()
        except BaseException as error:
            self._failure = self._failure or error
            self._stopping.set()
            for _ in range(self._sessions):
                self._due.put(None)
