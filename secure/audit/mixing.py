"""Canaries among a proxy's requests: which of those one follows, after how long, and what is noted of its answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from secure.audit.canaries import Canaries, Canary
from secure.audit.compare import Answer, distance
from secure.audit.running import AuditLog, Entry
from secure.protocols.core.errors import ConfigurationError

_LOG = logging.getLogger("secure.audit")
_RANDOM = random.SystemRandom()
_GAPS = 64
_MOST_SECONDS = 60.0
"""A canary waits no longer for its turn."""


@dataclass(frozen=True)
class Audit:
    """What is mixed in: canaries, where answers are noted, and which share of all requests are canaries."""

    canaries: Canaries
    log: AuditLog
    rate: float

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a rate that is none."""
        if not 0 < self.rate <= 0.5:
            raise ConfigurationError(f"the rate of canaries is {self.rate}; it must be above 0 and at most 0.5")


class Turn(NamedTuple):
    """One canary that is due after so many seconds."""

    number: int
    canary: Canary
    seconds: float


class Turns:
    """Draws when a canary goes out. Each goes out once, as whoever sees texts may know one that comes again.

    A canary waits for as long as some user's request came after another one. Safe to use from several threads.
    """

    def __init__(self, audit: Audit) -> None:
        """Raises ConfigurationError for a log that cannot be read."""
        self._audit = audit
        used = {entry.canary for entry in audit.log.entries()}
        self._left = [number for number in range(len(audit.canaries.canaries)) if number not in used]
        _RANDOM.shuffle(self._left)
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._last: float | None = None
        self._lock = threading.Lock()

    def after_request(self) -> Turn | None:
        """A user's request has gone out: the canary that follows it, if one does."""
        now = time.monotonic()
        with self._lock:
            if self._last is not None:
                self._gaps.append(min(now - self._last, _MOST_SECONDS))
            self._last = now
            # So many for each user's request are that share of all.
            if not self._gaps or _RANDOM.random() >= self._audit.rate / (1 - self._audit.rate):
                return None
            if not self._left:
                _LOG.warning("no canary is left, so nothing is audited any more; make others with secure ee audit")
                return None
            number = self._left.pop()
            return Turn(number, self._audit.canaries.canaries[number], _RANDOM.choice(self._gaps))

    def note(self, turn: Turn, answer: Answer) -> None:
        """Write down how far an answer is from the stored one, and log a wrong one. Raises ConfigurationError."""
        canaries = self._audit.canaries
        found = distance(canaries.kind, turn.canary.answer, answer)
        self._audit.log.add(Entry(turn.number, found))
        if not found <= canaries.threshold:
            _LOG.error(
                "canary %d was answered wrong: a difference of %.2g, above %.2g; see secure ee audit report",
                turn.number,
                found,
                canaries.threshold,
            )

    def unanswered(self, error: Exception) -> None:
        """Log what came instead of an answer; no user's request knows of it."""
        _LOG.warning("a canary got no answer: %s", error)
