"""The parts of a report: what one op of one layer cost, and what one process did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from secure.models.storage.capacity import human_bytes
from secure.parties.roles.engine import MadeAhead

Number = TypeVar("Number", int, float)
MeterRow = Mapping[str, Any]
"""A row of `secure.protocols.core.cost.Meter.snapshot`."""
DEALERS = {"dealer": "the dealer", "dealer2": "the second dealer"}
"""Roles that deal, in words."""


@dataclass(frozen=True)
class ReportRow:
    """One op within one layer.

    online_bytes: sent by the computing parties to each other. dealer_bytes: sent by dealers, if there are any.
    seconds: of the slowest computing party, waiting for messages included. dealer_seconds: of the slower dealer, who
    works ahead at the same time.
    """

    layer: str
    op: str
    calls: int
    rounds: int
    online_bytes: int
    dealer_bytes: int
    seconds: float
    dealer_seconds: float

    @classmethod
    def merged(cls, layer: str, op: str, computing: Sequence[MeterRow], dealers: Sequence[MeterRow]) -> ReportRow:
        """Put together what all roles say of one op of one layer; a role that says nothing passes {}."""
        return cls(
            layer,
            op,
            calls=max(int(row.get("calls", 0)) for row in (*computing, *dealers)),
            rounds=max(int(row.get("rounds", 0)) for row in computing),
            online_bytes=sum(int(row.get("online_bytes", 0)) for row in computing),
            dealer_bytes=sum(int(row.get("dealer_bytes", 0)) for row in dealers),
            seconds=max(float(row.get("seconds", 0.0)) for row in computing),
            dealer_seconds=max((float(row.get("seconds", 0.0)) for row in dealers), default=0.0),
        )

    @classmethod
    def merged_of_three(cls, layer: str, op: str, rows: Sequence[MeterRow]) -> ReportRow:
        """Put together what three computing parties say, who help each other in turn.

        Two of them count a gate's rounds, the helper none; what a helper deals counts there and where it arrives.
        """
        total = {
            name: sum(int(row.get(name, 0)) for row in rows) for name in ("rounds", "online_bytes", "dealer_bytes")
        }
        return cls(
            layer,
            op,
            calls=max(int(row.get("calls", 0)) for row in rows),
            rounds=total["rounds"] // 2,
            online_bytes=total["online_bytes"] + total["dealer_bytes"] // 2,
            dealer_bytes=0,
            seconds=max(float(row.get("seconds", 0.0)) for row in rows),
            dealer_seconds=0.0,
        )

    def plus(self, other: ReportRow) -> ReportRow:
        """The sum of two rows, under this one's names."""
        return ReportRow(
            self.layer,
            self.op,
            self.calls + other.calls,
            self.rounds + other.rounds,
            self.online_bytes + other.online_bytes,
            self.dealer_bytes + other.dealer_bytes,
            self.seconds + other.seconds,
            self.dealer_seconds + other.dealer_seconds,
        )


@dataclass(frozen=True)
class RoleTotals:
    """One process: bytes of payload and messages by peer, seconds, and the memory that it set aside for a session.

    waiting_seconds: for messages, by peer. cpu_seconds: of the thread that computes.
    """

    role: str
    bytes_sent: Mapping[str, int]
    bytes_received: Mapping[str, int]
    messages_sent: Mapping[str, int]
    seconds: float
    memory_bytes: int
    waiting_seconds: Mapping[str, float]
    cpu_seconds: float

    def waits(self, peers: Sequence[str]) -> str:
        """How long it waited for these peers, in words, and for each dealer that it had messages of."""
        for_peers = sum(seconds for peer, seconds in self.waiting_seconds.items() if peer in peers)
        dealers = [(DEALERS[peer], s) for peer, s in self.waiting_seconds.items() if peer in DEALERS]
        return f"{for_peers:.3f} s for its peers" + "".join(
            f", {seconds:.3f} s for {name}" for name, seconds in dealers
        )

    def plus(self, other: RoleTotals) -> RoleTotals:
        """Both together; of the memory, what the larger session took."""
        return RoleTotals(
            self.role,
            _added(self.bytes_sent, other.bytes_sent),
            _added(self.bytes_received, other.bytes_received),
            _added(self.messages_sent, other.messages_sent),
            self.seconds + other.seconds,
            max(self.memory_bytes, other.memory_bytes),
            _added(self.waiting_seconds, other.waiting_seconds),
            self.cpu_seconds + other.cpu_seconds,
        )


@dataclass(frozen=True)
class Offline:
    """What came before the inputs of a call, where the computing parties make their correlations themselves.

    from_stock, on_demand: sessions for which it was made before, and inside the call. seconds: of the slowest party,
    one making after the other. sent_bytes: by role, to the other one. kept_bytes: by role, until the input, of the
    session that kept most. in_call_seconds: of those on demand.
    """

    from_stock: int
    on_demand: int
    seconds: float
    in_call_seconds: float
    rounds: int
    sent_bytes: Mapping[str, int]
    kept_bytes: Mapping[str, int]

    @classmethod
    def of_session(cls, made: Mapping[str, MadeAhead]) -> Offline | None:
        """What each role says; None where no role has made anything."""
        if not made:
            return None
        in_stock = all(each.from_stock for each in made.values())
        seconds = max(each.seconds for each in made.values())
        return cls(
            from_stock=int(in_stock),
            on_demand=int(not in_stock),
            seconds=seconds,
            in_call_seconds=0.0 if in_stock else seconds,
            rounds=max(each.rounds for each in made.values()),
            sent_bytes={role: each.sent_bytes for role, each in made.items()},
            kept_bytes={role: each.kept_bytes for role, each in made.items()},
        )

    def plus(self, other: Offline) -> Offline:
        """Both together."""
        return Offline(
            self.from_stock + other.from_stock,
            self.on_demand + other.on_demand,
            self.seconds + other.seconds,
            self.in_call_seconds + other.in_call_seconds,
            self.rounds + other.rounds,
            _added(self.sent_bytes, other.sent_bytes),
            {role: max(kept, other.kept_bytes.get(role, 0)) for role, kept in self.kept_bytes.items()},
        )

    def in_words(self) -> str:
        """One line for a report."""
        sources = {"taken from stock": self.from_stock, "made on demand, in this call": self.on_demand}
        named = [name for name, count in sources.items() if count]
        counted = [f"{count} {name}" for name, count in sources.items() if count]
        source = named[0] if len(named) == 1 else ", ".join(counted)
        sent, kept = (
            ", ".join(f"{role.upper()} {human_bytes(count)}" for role, count in counts.items())
            for counts in (self.sent_bytes, self.kept_bytes)
        )
        return f"{source}: {self.seconds:.3f} s, {self.rounds} rounds; sent: {sent}; kept until the input: {kept}"


def grouped(rows: Iterable[ReportRow], key: Callable[[ReportRow], tuple[str, str]]) -> tuple[ReportRow, ...]:
    """Rows of equal key added up, in the order of their first appearance."""
    groups: dict[tuple[str, str], ReportRow] = {}
    for row in rows:
        place = key(row)
        groups[place] = groups[place].plus(row) if place in groups else row
    return tuple(groups.values())


def _added(first: Mapping[str, Number], second: Mapping[str, Number]) -> dict[str, Number]:
    sums: dict[str, Number] = {**first}
    for name, value in second.items():
        sums[name] = sums[name] + value if name in sums else value
    return sums
