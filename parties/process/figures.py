"""What a role has done and what it holds, in figures: for Prometheus, and for whoever asks for its status.

All of it is a function of shapes, times and how many sessions there are. Nothing has the name of a client.
"""

from __future__ import annotations

import datetime
import json
import time
from collections import Counter as Tally
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from secure.parties.roles.worker import Worker
from secure.parties.session.handshake import KIND_NAMES, as_role
from secure.parties.session.places import Places
from secure.parties.session.session import Session
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Report
from secure.protocols.core.errors import SecureInferenceError
from secure.protocols.version import VERSION

_BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Seconds of a session. So coarse that a bucket tells no more of a request than its shape does."""
_DIGEST_DIGITS = 12


class Figures:
    """The figures of one role. Safe to use from several threads."""

    def __init__(self, role: str, places: Places, worker: Worker, certificates: LiveCertificates) -> None:
        self._role = role
        self._places = places
        self._worker = worker
        self._certificates = certificates
        self._started = time.monotonic()
        self._last_failure: tuple[str, float] | None = None
        self._registry = CollectorRegistry()
        self._sessions = Counter(
            "secure_sessions",
            "Sessions that have ended, by kind and result.",
            ("kind", "result"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "secure_session_seconds", "How long sessions took.", ("kind",), buckets=_BUCKETS, registry=self._registry
        )
        self._bytes = Counter(
            "secure_payload_bytes",
            "Bytes of payload in sessions, by peer and direction.",
            ("peer", "direction"),
            registry=self._registry,
        )
        self._gauge("secure_sessions_running", "Sessions at this moment.", lambda: places.taken)
        self._gauge("secure_sessions_waiting", "Clients that wait for a place.", lambda: places.waiting)
        self._gauge("secure_models", "Models in memory.", lambda: len(worker.models.digests))
        self._gauge("secure_certificate_seconds_left", "Until this role's certificate ends.", self._certificate_seconds)
        stock = Gauge("secure_stock_deals", "Deals of the stock, by state.", ("state",), registry=self._registry)
        for state in ("stock", "spent", "burnt") if worker.operating.store is not None else ():
            stock.labels(state).set_function(partial(self._deals_in, state))
        ProcessCollector(registry=self._registry)

    def ended(self, session: Session, error: Exception | None) -> None:
        """A session is over. error: what ended it early; of a defect only that it was one is kept."""
        result = "ok"
        if error is not None:
            result = type(error).__name__ if isinstance(error, SecureInferenceError) else "defect"
            self._last_failure = result, time.monotonic()
        kind = KIND_NAMES.get(session.hello.kind, "unknown")
        self._sessions.labels(kind, result).inc()
        self._seconds.labels(kind).observe(time.monotonic() - session.started)
        for link in (*session.peers, session.run):
            self._bytes.labels(link.peer, "sent").inc(link.traffic.bytes_sent)
            self._bytes.labels(link.peer, "received").inc(link.traffic.bytes_received)

    def exposition(self) -> bytes:
        """All figures, in Prometheus' text format."""
        return generate_latest(self._registry)

    def why_not_ready(self) -> str:
        """Why no session should be sent here; empty when one may."""
        if self._places.closed:
            return "it is about to stop"
        if self._certificate_seconds() <= 0:
            return "its certificate has ended"
        return ""

    def status(self) -> dict[str, Any]:
        """What `secure status` shows, as JSON's types."""
        failure = self._last_failure
        return {
            "version": VERSION,
            "state": self.why_not_ready() or "serving",
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "clock_seconds": time.time(),
            "sessions": self._places.taken,
            "waiting": self._places.waiting,
            "models": [digest[:_DIGEST_DIGITS] for digest in self._worker.models.digests],
            "stock": dict(self._deals()) if self._worker.operating.store is not None else None,
            "certificate_seconds_left": round(self._certificate_seconds()),
            "last_failure": None if failure is None else [failure[0], round(time.monotonic() - failure[1], 1)],
        }

    def answer(self, link: Link, hello: Hello) -> None:
        """A peer's or the owner's question for the status."""
        link.post(Frame(accept=Accept(hello=as_role(hello, self._role))))
        link.post(Frame(report=Report(rows_json=json.dumps([self.status()]))))
        link.post_end()

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(name, what, registry=self._registry).set_function(value)

    def _deals(self) -> Tally[str]:
        store = self._worker.operating.store
        found: Tally[str] = Tally()
        for tally in store.tallies() if store is not None else ():
            found[tally.state] += tally.count
        return found

    def _deals_in(self, state: str) -> int:
        return self._deals()[state]

    def _certificate_seconds(self) -> float:
        return (_end_of(self._certificates.current().certificate) - datetime.datetime.now(datetime.UTC)).total_seconds()


@lru_cache(maxsize=4)
def _end_of(certificate: bytes) -> datetime.datetime:
    """When a certificate in PEM ends. It is read once, not at every scrape."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
