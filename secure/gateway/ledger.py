"""The sessions of a gateway with the parties: what each cost, and figures of all for Prometheus.

All of it is a function of shapes and times. A session's cost is told to those whose rows were in it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from secure.http.callers import Caller
from secure.http.kept_receipts import KEPT, KeptReceipts
from secure.protocols.core.errors import ModelNotLoaded, SecureInferenceError
from secure.report.report import Report

_BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Spent:
    """What a session took. rows: that travelled together. link_bytes: "p0 to p1" → payload, the client's included.

    cpu_seconds: by role, of what computes. learned: what each role learned, in a sentence.
    """

    rows: int
    tokens: int
    seconds: float
    rounds: int
    online_bytes: int
    dealer_bytes: int
    link_bytes: dict[str, int]
    cpu_seconds: dict[str, float]
    learned: dict[str, str]


@dataclass
class _Kept:
    callers: frozenset[str]
    spent: Spent | None = None


class SessionLedger:
    """Sessions as they begin and end. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self.receipts = KeptReceipts()
        self._count = 0
        self._here = threading.local()
        self._why_not = ""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "secure_gateway_requests",
            "Requests that were answered, by path, caller and status.",
            ("path", "caller", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "secure_gateway_request_seconds",
            "Until an answer, or the first part of a stream.",
            ("path",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._sessions = Counter(
            "secure_gateway_sessions", "Sessions with the parties, by result.", ("result",), registry=registry
        )
        self._rows = Counter("secure_gateway_rows", "Rows that travelled in sessions.", registry=registry)
        self._rounds = Counter("secure_gateway_rounds", "Rounds of sessions.", registry=registry)
        self._links = Counter(
            "secure_gateway_link_bytes", "Payload in sessions, by link.", ("sender", "receiver"), registry=registry
        )
        self._cpu = Counter(
            "secure_gateway_role_cpu_seconds", "What roles computed in sessions.", ("role",), registry=registry
        )
        self._running = Gauge("secure_gateway_sessions_running", "Sessions at this moment.", registry=registry)
        ProcessCollector(registry=registry)

    @contextmanager
    def session(self, callers: Collection[str], rows: int) -> Iterator[int]:
        """A session at work in this thread; its number. Reports that are heeded in the block are of it."""
        with self._lock:
            self._count += 1
            number = self._count
            kept = self._kept[number] = _Kept(frozenset(callers))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._here.reports, result = [], "ok"
        self._running.inc()
        try:
            yield number
        except Exception as error:
            result = type(error).__name__ if isinstance(error, SecureInferenceError) else "defect"
            self._why_not = str(error) if isinstance(error, ModelNotLoaded) else ""
            raise
        else:
            self._why_not = ""
        finally:
            self._running.dec()
            self._sessions.labels(result).inc()
            reports = self._here.reports
            if reports:
                whole = Report.total(reports)
                kept.spent = self._counted(whole, rows)
                if whole.receipt is not None:
                    self.receipts.keep(number, callers, whole.receipt)

    def heed(self, report: Report) -> None:
        """The report of what this thread has done."""
        if hasattr(self._here, "reports"):
            self._here.reports.append(report)

    def answered(self, path: str, caller: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        self._requests.labels(path, caller, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def spent(self, number: int, caller: Caller) -> dict[str, Any] | None:
        """What a session cost, as JSON's types; None where it is not over, too old, or none of this caller's."""
        with self._lock:
            kept = self._kept.get(number)
        if kept is None or kept.spent is None or not (caller.operator or caller.name in kept.callers):
            return None
        return asdict(kept.spent)

    @property
    def why_not_ready(self) -> str:
        """Why the last session says that the next one will fail, too; empty where it does not."""
        return self._why_not

    def exposition(self) -> bytes:
        """All figures, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counted(self, report: Report, rows: int) -> Spent:
        links: dict[str, int] = {}
        for role, totals in report.roles.items():
            for peer, count in totals.bytes_sent.items():
                self._link(links, role, peer, count)
            self._link(links, "client", role, totals.bytes_received.get("client", 0))
            self._cpu.labels(role).inc(totals.cpu_seconds)
        self._rows.inc(rows)
        self._rounds.inc(report.rounds)
        cpu = {role: round(totals.cpu_seconds, 4) for role, totals in report.roles.items()}
        return Spent(
            rows,
            report.tokens,
            round(report.seconds, 4),
            report.rounds,
            report.online_bytes,
            report.dealer_bytes,
            links,
            cpu,
            {role: _learned(role, report) for role in report.roles},
        )

    def _link(self, links: dict[str, int], sender: str, receiver: str, count: int) -> None:
        if count:
            links[f"{sender} to {receiver}"] = count
            self._links.labels(sender, receiver).inc(count)


def _learned(role: str, report: Report) -> str:
    """What a role saw of a session."""
    rows = "1 row" if report.sequences == 1 else f"{report.sequences} rows"
    shape = f"{rows}, {report.tokens} tokens with padding"
    if role == "dealer":
        return f"the shape: {shape}; nothing of the input or of the answer reached it"
    return f"the shape: {shape}; of the input and the answer a share, which alone says nothing"
