"""What an op declares to cost, and what it was measured to cost.

Accounting convention everywhere: *online* bytes are what one computing party sends to the other; *dealer* bytes are
what the dealer sends. Both count payload, before the transport adds its frames. In almost every gate both parties send
the same; what one of them sends alone is declared apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Rounds of one exchange each, bytes sent by each computing party, bytes sent by the dealer.

    p0_bytes, p1_bytes: what that party alone sends besides, in gates that declare it. What is measured at a role needs
    neither: there online_bytes are all that it sent.
    """

    rounds: int = 0
    online_bytes: int = 0
    dealer_bytes: int = 0
    p0_bytes: int = 0
    p1_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.rounds + other.rounds,
            self.online_bytes + other.online_bytes,
            self.dealer_bytes + other.dealer_bytes,
            self.p0_bytes + other.p0_bytes,
            self.p1_bytes + other.p1_bytes,
        )

    @property
    def both_bytes(self) -> int:
        """Online bytes of both parties together."""
        return 2 * self.online_bytes + self.p0_bytes + self.p1_bytes

    def at(self, role: str) -> Cost:
        """What a meter measures of it at 'p0', 'p1' or 'dealer'. P0 hears nothing from the dealer."""
        if role == "dealer":
            return Cost(dealer_bytes=self.dealer_bytes)
        if role == "p0":
            return Cost(self.rounds, self.online_bytes + self.p0_bytes)
        return Cost(self.rounds, self.online_bytes + self.p1_bytes, self.dealer_bytes)


JOINED = "joined"
"""The row of a layer that takes off the rounds which its ops shared."""


@dataclass
class MeterRow:
    """Everything one op did within one layer."""

    calls: int = 0
    seconds: float = 0.0
    measured: Cost = field(default_factory=Cost)
    declared: Cost = field(default_factory=Cost)


class Meter:
    """Attributes rounds, bytes and seconds to (layer, op). One per role and session."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], MeterRow] = {}
        self._current = MeterRow()
        self._since = 0.0
        self.declared_rounds = 0
        """All rounds that were declared so far."""

    @contextmanager
    def gate(self, layer: str, op: str, declared: Cost) -> Iterator[None]:
        """Attribute what happens inside the block to one call of `op`."""
        row = self.rows.setdefault((layer, op), MeterRow())
        row.calls += 1
        row.declared += declared
        self.declared_rounds += declared.rounds
        self.turn_to(row)
        try:
            yield
        finally:
            self.turn_to(MeterRow())

    def turn_to(self, row: MeterRow) -> MeterRow:
        """Attribute what follows to another row. Returns the one so far, for when its op goes on."""
        before, now = self._current, time.perf_counter()
        before.seconds += now - self._since
        self._current, self._since = row, now
        return before

    def joined(self, layer: str, *, saved: int, measured: int) -> None:
        """Ops of a layer shared rounds: fewer took place than they declared, each for itself.

        saved: how many fewer. measured: the same as this role has seen it; a role without rounds has seen none.
        """
        with self.gate(layer, JOINED, Cost(rounds=-saved)):
            self._current.measured += Cost(rounds=-measured)

    def exchanged(self, sent_bytes: int, rounds: int = 1) -> None:
        """One round in which this party sent `sent_bytes`. rounds: 0 where this party is one that counts none."""
        self._current.measured += Cost(rounds=rounds, online_bytes=sent_bytes)

    def sent(self, sent_bytes: int) -> None:
        """This party sent `sent_bytes` that nobody waits for."""
        self._current.measured += Cost(online_bytes=sent_bytes)

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


class CostTally(Meter):
    """What a program costs that runs on shapes alone. multiplications: of numbers, in a party's matrix products.

    kept_bytes: of what parties make before there is an input, at the one that keeps most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept_bytes = 0
        self.multiplications: Counter[str] = Counter()
        """By layer."""
