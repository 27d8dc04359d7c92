"""The load itself: requests sent to real parties as they arrive, and the simulator on the very same arrivals."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.load.sending import LIMIT_SECONDS, at_times
from bench.private_inference.arrivals import DRAWN, arrivals_of, trace
from bench.private_inference.comparing import compared
from bench.private_inference.constants import Garbler, measured, one_machine, system
from bench.private_inference.measuring import EXCLUDES, INCLUDES, constants_of
from bench.private_inference.services import Name, Service, running
from bench.private_inference.simulate import Run, System, simulate
from bench.private_inference.summary import figures, sustainable_rate, with_slots
from secure.protocols.core.errors import ConfigurationError


@dataclass(frozen=True)
class Load:
    """What is asked for. utilisations: parts of what the simulator sustains with these slots. seconds: of each run.

    arrivals: "poisson", "bursts", or a file of times, which has neither utilisations nor seconds.
    """

    what: Name
    garbler: Garbler
    slots: int
    utilisations: tuple[float, ...]
    seconds: float
    turns: int
    arrivals: str = "poisson"


def run(load: Load) -> dict[str, Any]:
    """Measure constants, then a run for each utilisation, all with the same parties. Returns the record.

    Raises ConfigurationError for a trace that is none, and what a making or an answer does.
    """
    if load.arrivals not in DRAWN:
        trace(Path(load.arrivals))
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, running(load.what, Path(folder), load.garbler) as service:
        constants = constants_of(service, load.what, load.turns, load.garbler)
        site = one_machine(os.cpu_count() or 1)
        model = with_slots(system(measured({"command": "", **constants}), site, {}, miss="demand"), load.slots)
        sustained = sustainable_rate(model)
        rows = [_row(service, model, load, utilisation, sustained) for utilisation in _utilisations(load, sustained)]
    return {
        "kind": "inference-load",
        "what": load.what,
        "arrivals": load.arrivals if load.arrivals in DRAWN else "a trace",
        "slots": load.slots,
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "load_average": before,
        "constants": constants,
        "sustainable_rate": sustained,
        "rows": rows,
    }


def send(service: Service, times: Sequence[float], slots: int, sessions: int = 1) -> Run:
    """Requests at these times from now on, in order, to full stocks that are kept full. Waits for every answer.

    Raises what a making or an answer does.
    """
    return _Sending(service, times, slots, sessions).run()


def _utilisations(load: Load, sustained: float) -> tuple[float, ...]:
    """What is asked for; a trace has a rate of its own, and is run once."""
    if load.arrivals in DRAWN:
        return load.utilisations
    times = trace(Path(load.arrivals))(np.random.default_rng(0))
    return (len(times) / float(times[-1]) / sustained,)


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
        self._hits = np.zeros(len(times), bool)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> Run:
        self._service.empty()
        for _ in range(self._slots):
            self._service.fill()
        filler = threading.Thread(target=self._fill, daemon=True)
        filler.start()
        sent = at_times(self._times, self._sessions, self._answer, self._stopping)
        self._stopping.set()
        self._free.release()
        filler.join(LIMIT_SECONDS)
        if self._failure is not None:
            raise self._failure
        return Run(np.array(sent.latencies), self._hits, sent.seconds, {})

    def _answer(self, number: int) -> None:
        with self._ending():
            answer = self._service.answer()
            self._hits[number] = answer.hit
            if answer.hit:
                self._free.release()

    def _fill(self) -> None:
        with self._ending():
            while True:
                self._free.acquire()
                if self._stopping.is_set():
                    return
                self._service.fill()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """What is raised in the block ends the run."""
        try:
            yield
        except BaseException as error:
            self._failure = self._failure or error
            self._stopping.set()
