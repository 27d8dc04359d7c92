"""A resource that all who use it at a time share evenly: a link, or a party's cores."""

from __future__ import annotations

import heapq
from typing import Any


class Shared:
    """Processor sharing, each use with a most rate of its own.

    A use has so much work, in seconds of one core or of the whole link, and goes at `width` at the most. While the
    widths of all uses add up to no more than the capacity, each goes at its own; else all are slowed by one factor.
    A single clock tells both, so that a use costs a logarithm (Parekh and Gallager's virtual time, 1993).
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.due = float("inf")
        """The time at which the next use ends, if nothing is added before."""
        self.worked = 0.0
        """Work done so far."""
        self._ends: list[tuple[float, int, float, Any]] = []
        self._width = 0.0
        self._clock = 0.0
        self._now = 0.0
        self._count = 0

    def add(self, now: float, work: float, width: float, who: Any) -> None:
        """Begin a use. who: handed back by `pop` when it ends."""
        self._go_on(now)
        self._count += 1
        heapq.heappush(self._ends, (self._clock + work / width, self._count, width, who))
        self._width += width
        self._plan()

    def pop(self, now: float) -> Any:
        """End the use that is due."""
        self._go_on(now)
        self._clock, _, width, who = heapq.heappop(self._ends)
        self._width = self._width - width if self._ends else 0.0
        self._plan()
        return who

    def _go_on(self, now: float) -> None:
        if self._ends:
            pace = min(1.0, self.capacity / self._width)
            self._clock += (now - self._now) * pace
            self.worked += (now - self._now) * pace * self._width
        self._now = now

    def _plan(self) -> None:
        if not self._ends:
            self.due = float("inf")
            return
        pace = min(1.0, self.capacity / self._width)
        self.due = max(self._now, self._now + (self._ends[0][0] - self._clock) / pace)
