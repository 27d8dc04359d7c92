"""What an op declares to cost, and what it was measured to cost.

Accounting convention everywhere: *online* bytes are what one computing party sends to the other (both send the same);
*dealer* bytes are what the dealer sends. Both count payload, before the transport adds its frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Rounds of one exchange each, bytes sent by each computing party, bytes sent by the dealer."""

    rounds: int = 0
    online_bytes: int = 0
    dealer_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.rounds + other.rounds,
            self.online_bytes + other.online_bytes,
            self.dealer_bytes + other.dealer_bytes,
        )


@dataclass
class Row:
    """Everything one op did within one layer."""

    calls: int = 0
    seconds: float = 0.0
    measured: Cost = field(default_factory=Cost)
    declared: Cost = field(default_factory=Cost)


class Meter:
    """Attributes rounds, bytes and seconds to (layer, op). One per role and session."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self._current = Row()

    @contextmanager
    def gate(self, layer: str, op: str, declared: Cost) -> Iterator[None]:
        """Attribute what happens inside the block to one call of `op`."""
        row = self.rows.setdefault((layer, op), Row())
        row.calls += 1
        row.declared += declared
        self._current = row
        started = time.perf_counter()
        try:
            yield
        finally:
            row.seconds += time.perf_counter() - started
            self._current = Row()

    def exchanged(self, sent_bytes: int) -> None:
        """One round in which this party sent `sent_bytes`."""
        self._current.measured += Cost(rounds=1, online_bytes=sent_bytes)

    def dealt(self, dealer_bytes: int) -> None:
        """The dealer sent, or this party received from it, `dealer_bytes`."""
        self._current.measured += Cost(dealer_bytes=dealer_bytes)

    @property
    def total(self) -> Cost:
        """Measured so far."""
        return sum((row.measured for row in self.rows.values()), Cost())

    def snapshot(self) -> list[dict[str, Any]]:
        """Plain rows for a report: layer, op, calls, rounds, online_bytes, dealer_bytes, seconds."""
        return [
            {
                "layer": layer,
                "op": op,
                "calls": row.calls,
                "rounds": row.measured.rounds,
                "online_bytes": row.measured.online_bytes,
                "dealer_bytes": row.measured.dealer_bytes,
                "seconds": row.seconds,
            }
            for (layer, op), row in self.rows.items()
        ]
