"""Sessions as spans of OpenTelemetry: one for a session at each role, and below it one for each layer.

All roles' spans of a session are one trace, which the client begins. Each session has a trace of its own, so that
parties do not learn which sessions belong to one piece of work at the client; there the session's span has a link to
that.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from secure.parties.session.tracing import TRACE_KEY, SessionTrace, SessionTracer

_PROPAGATOR = TraceContextTextMapPropagator()


class SpanTracer(SessionTracer):
    """Makes spans with a provider of OpenTelemetry's, which says where they go."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("secure-inference")

    def begin(self, role: str, kind: str, session_id: str, context: str = "") -> SessionTrace:
        """A session's span; what is no context of W3C's begins a trace."""
        above = _PROPAGATOR.extract({TRACE_KEY: context}, Context())
        here = trace.get_current_span().get_span_context()
        span = self._tracer.start_span(
            f"{role} {kind}",
            above,
            SpanKind.SERVER if context else SpanKind.CLIENT,
            {"secure.session": session_id, "secure.role": role, "secure.kind": kind},
            [Link(here)] if here.is_valid else [],
        )
        return _SpanTrace(self._tracer, span)


class _SpanTrace(SessionTrace):
    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._inside = trace.set_span_in_context(span, Context())
        self._layer: Span | None = None
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._inside)
        self.context = carrier.get(TRACE_KEY, "")

    def layer(self, name: str) -> None:
        if self._layer is not None:
            self._layer.end()
        self._layer = self._tracer.start_span(name, self._inside)

    def end(self, error: Exception | None) -> None:
        if self._layer is not None:
            self._layer.end()
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
