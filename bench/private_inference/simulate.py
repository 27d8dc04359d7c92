"""Requests that arrive, predictions made ahead, and whatever both take of cores and of the link: event by event.

A *making* needs no input. It takes a slot of the stock when it begins, as the parties set room aside for it, and its
prediction gives the slot back when it is answered. Requests are served in the order of their arrival, by as many
sessions at a time as there are. One for which nothing is in stock is made on demand, in its session, or waits for the
making that comes next. Makings and sessions share what they use, stage by stage, evenly.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.private_inference.sharing import Shared

DELAY = "delay"
"""What nobody shares: round trips."""
Miss = Literal["demand", "wait"]


@dataclass(frozen=True)
class Use:
    """One use of a resource within a stage. work: in seconds of one core, of the whole link, or of waiting."""

    resource: str
    work: float
    width: float = 1.0


Stage = tuple[Use, ...]
"""Uses that begin together; the stage ends with the last of them."""


@dataclass(frozen=True)
class System:
    """What serves. capacities: of each resource, in cores, or 1 for a link.

    slots: most makings in stock, in the making, or in use. pipelines: makings at a time. sessions: answers at a time.
    miss: what becomes of a request for which nothing is in stock. With no slot or no pipeline, all is made on demand.
    """

    offline: tuple[Stage, ...]
    online: tuple[Stage, ...]
    capacities: Mapping[str, float]
    slots: int
    pipelines: int = 1
    sessions: int = 1
    miss: Miss = "demand"


@dataclass(frozen=True)
class Run:
    """One run, in the order of arrival. latencies: seconds from arrival to answer. hits: something was in stock when
    their turn came.

    busy: the mean use of each resource until the last answer, in its own unit.
    """

    latencies: np.ndarray
    hits: np.ndarray
    seconds: float
    busy: Mapping[str, float]


class _Task:
    """A making or a session on its way through its stages. request: whose session; -1 is a making for the stock."""

    __slots__ = ("left", "next", "request", "slot", "stages")

    def __init__(self, stages: Sequence[Sequence[tuple[int, float, float]]], request: int, slot: bool) -> None:
        self.stages = stages
        self.next = 0
        self.left = 0
        self.request = request
        self.slot = slot


def simulate(system: System, arrivals: Sequence[float] | np.ndarray, stocked: int | None = None) -> Run:
    """All requests from arrival to answer; none is forgotten. stocked: slots that are full at the start, or all."""
    return _Simulation(system, [float(time) for time in arrivals], stocked).run()


class _Simulation:
    def __init__(self, system: System, arrivals: list[float], stocked: int | None) -> None:
        self.system = system
        self.arrivals = arrivals
        self.names = list(system.capacities)
        self.shared = [Shared(capacity) for capacity in system.capacities.values()]
        self.delays: list[tuple[float, int, _Task]] = []
        self.count = 0
        offline, online = self._compiled(system.offline), self._compiled(system.online)
        self.offline, self.online, self.whole = offline, online, (*offline, *online)
        self.keeps = system.slots > 0 and system.pipelines > 0
        self.stock = min(system.slots if stocked is None else stocked, system.slots) if self.keeps else 0
        self.held = self.stock  # slots taken: in stock, in the making, or in use
        self.making = 0
        self.serving = 0
        self.waiting: deque[int] = deque()
        self.answered = np.zeros(len(arrivals))
        self.hits = np.ones(len(arrivals), bool)  # until their turn comes and nothing is there
        self.now = 0.0

    def _compiled(self, stages: Sequence[Stage]) -> tuple[tuple[tuple[int, float, float], ...], ...]:
        """Resources by number, -1 for a delay, and without the uses and stages that take nothing."""
        found = (
            tuple(
                (-1 if use.resource == DELAY else self.names.index(use.resource), use.work, use.width)
                for use in stage
                if use.work > 0
            )
            for stage in stages
        )
        return tuple(stage for stage in found if stage)

    def run(self) -> Run:
        """To the last answer. Makings that go on then are left."""
        coming, due, left = 0, float("inf"), len(self.arrivals)
        if self.arrivals:
            due = self.arrivals[0]
        self._begin()
        while left:
            time, which = due, None
            for shared in self.shared:
                if shared.due < time:
                    time, which = shared.due, shared
            if self.delays and self.delays[0][0] < time:
                self.now, _, task = heapq.heappop(self.delays)
            elif which is not None:
                self.now = time
                task = which.pop(time)
            else:
                self.now = time
                self.waiting.append(coming)
                coming += 1
                due = self.arrivals[coming] if coming < len(self.arrivals) else float("inf")
                self._begin()
                continue
            task.left -= 1
            if task.left == 0 and self._advance(task):
                left -= task.request >= 0
                self._end(task)
        busy = {name: shared.worked / self.now for name, shared in zip(self.names, self.shared, strict=True)}
        return Run(self.answered - np.array(self.arrivals), self.hits, self.now, busy)

    def _advance(self, task: _Task) -> bool:
        """Begin the next stage. True where there is none."""
        if task.next == len(task.stages):
            return True
        stage = task.stages[task.next]
        task.next += 1
        task.left = len(stage)
        for resource, work, width in stage:
            if resource < 0:
                self.count += 1
                heapq.heappush(self.delays, (self.now + work, self.count, task))
            else:
                self.shared[resource].add(self.now, work, width, task)
        return False

    def _end(self, task: _Task) -> None:
        if task.request < 0:
            self.making -= 1
            self.stock += 1
        else:
            self.serving -= 1
            self.held -= task.slot
            self.answered[task.request] = self.now
        self._begin()

    def _begin(self) -> None:
        """Whatever can begin now: sessions first, for they may leave nothing to make for."""
        while self.waiting and self.serving < self.system.sessions:
            from_stock = self.stock > 0
            self.hits[self.waiting[0]] &= from_stock
            if not from_stock and self.keeps and self.system.miss == "wait":
                break
            request = self.waiting.popleft()
            self.stock -= from_stock
            self.serving += 1
            self._start(_Task(self.online if from_stock else self.whole, request, from_stock))
        while self.keeps and self.making < self.system.pipelines and self.held < self.system.slots:
            self.making += 1
            self.held += 1
            self._start(_Task(self.offline, -1, True))

    def _start(self, task: _Task) -> None:
        if self._advance(task):  # which takes nothing at all
            self.count += 1
            task.left = 1
            heapq.heappush(self.delays, (self.now, self.count, task))
