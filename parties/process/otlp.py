"""A party's spans to its operator's collector, by OTLP over HTTP."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from secure.parties.process.spans import SpanTracer


def otlp_tracer(role: str, url: str) -> SpanTracer:
    """A tracer whose spans go to a collector at `url`."""
    return SpanTracer(provider_for(role, url))


def provider_for(role: str, url: str) -> TracerProvider:
    """Sends spans to `url` in batches, from a thread of its own; what cannot be delivered is dropped."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"secure-inference-{role}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider
