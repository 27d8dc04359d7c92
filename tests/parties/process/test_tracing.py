"""A session in the traces of all roles: off unless asked for, one trace, names and times and nothing else."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from secure.parties.client.client import Client
from secure.parties.config import PARTIES, Limits, PartiesSettings
from secure.parties.process import main as party_process
from secure.parties.process.exit_codes import ExitCode
from secure.parties.session.tracing import TRACE_KEY, SessionTrace, SessionTracer, context_of
from secure.parties.settings_file import settings_toml
from secure.protocols.core.errors import SecureInferenceError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

MANIFEST = FakeManifest()
CONTEXT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class Kept(SessionTrace):
    """Keeps what it hears."""

    def __init__(self, session_id: str, kind: str, heard: str) -> None:
        self.session_id, self.kind, self.heard = session_id, kind, heard
        self.layers: list[str] = []
        self.ended: list[str] = []
        self.context = CONTEXT

    def layer(self, name: str) -> None:
        self.layers.append(name)

    def end(self, error: Exception | None) -> None:
        self.ended.append(type(error).__name__)


class Keeping(SessionTracer):
    def __init__(self) -> None:
        self.traces: list[Kept] = []

    def begin(self, role: str, kind: str, session_id: str, context: str = "") -> SessionTrace:
        self.traces.append(Kept(session_id, kind, context))
        return self.traces[-1]


@contextmanager
def traced(
    settings: PartiesSettings, make: Callable[[str], SessionTracer], shares: dict[str, Path]
) -> Iterator[Client]:
    """A client whose model is loaded at parties that all trace."""
    parties = LocalParties(settings, tracers={role: make(role) for role in PARTIES})
    try:
        with Client(settings, tracer=make("client")) as client:
            client.load_model(MANIFEST, shares)
            yield client
    finally:
        parties.stop_all()


def predict(client: Client) -> None:
    client.predict(MANIFEST.digest, MANIFEST.policy.digest(), FakeRequest(), (b"ab", b"cd"))


def test_every_role_hears_of_a_session_and_of_the_clients_trace(
    settings: PartiesSettings, shares: dict[str, Path]
) -> None:
    tracers = {role: Keeping() for role in (*PARTIES, "client")}
    with traced(settings, tracers.__getitem__, shares) as client:
        predict(client)
        with pytest.raises(SecureInferenceError):
            client.predict("00" * 32, MANIFEST.policy.digest(), FakeRequest(), (b"a", b"b"))
            raise AssertionError
    for role, tracer in tracers.items():
        load, prediction = tracer.traces
        assert (load.kind, prediction.kind) == ("load", "predict")
        assert prediction.session_id == tracers["client"].traces[1].session_id
        assert prediction.heard == ("" if role == "client" else CONTEXT)
        assert load.ended == prediction.ended == ["NoneType"]
        assert role == "client" or [name.split()[0] for name in prediction.layers][:1] == ["layer"]


def test_who_does_not_trace_says_nothing(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    keeping = Keeping()
    parties = LocalParties(settings, tracers={"p0": keeping})
    with Client(settings) as client:
        client.load_model(MANIFEST, shares)
    parties.stop_all()
    assert [trace.heard for trace in keeping.traces] == [""]


@pytest.mark.parametrize(
    "metadata",
    [None, (), ((TRACE_KEY, b"bytes"),), ((TRACE_KEY, "x" * 200),), ((TRACE_KEY, "a"), (TRACE_KEY, "b"))],
)
def test_what_is_no_context_is_none(metadata: object) -> None:
    assert context_of(metadata) == ""
    assert context_of((("user-agent", "grpc"), (TRACE_KEY, CONTEXT))) == CONTEXT


def test_spans_of_all_roles_are_one_trace_without_values(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    """By OpenTelemetry's own package, with its exporter in memory."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    memory: Any = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    spans: Any = importlib.import_module("secure.parties.process.spans")
    exporters = {role: memory.InMemorySpanExporter() for role in (*PARTIES, "client")}

    def make(role: str) -> SessionTracer:
        provider = sdk.TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(exporters[role]))
        tracer: SessionTracer = spans.SpanTracer(provider)
        return tracer

    application = sdk.TracerProvider(shutdown_on_exit=False).get_tracer("application")
    with traced(settings, make, shares) as client, application.start_as_current_span("work") as work:
        predict(client)
        eventually(
            lambda: all(exporter.get_finished_spans()[-1].name.endswith("predict") for exporter in exporters.values())
        )
    found = {role: exporter.get_finished_spans() for role, exporter in exporters.items()}
    own = found["client"][-1]
    assert own.parent is None and own.context.trace_id != work.get_span_context().trace_id
    assert own.links[0].context == work.get_span_context()
    for role in PARTIES:
        session = found[role][-1]
        assert session.context.trace_id == own.context.trace_id and session.parent.span_id == own.context.span_id
        assert (
            session.name == f"{role} predict"
            and session.attributes["secure.session"] == own.attributes["secure.session"]
        )
        layers = [
            span for span in found[role] if span.parent is not None and span.parent.span_id == session.context.span_id
        ]
        assert layers and all(span.name.startswith("layer") and not span.attributes for span in layers)
    assert {key for all_of in found.values() for span in all_of for key in span.attributes} == {
        "secure.session",
        "secure.role",
        "secure.kind",
    }
    # The error's class alone: its text could say more.
    trace = make("p0").begin("p0", "predict", "00" * 16, "no context of anybody's")
    trace.end(ValueError("a secret"))
    failed = exporters["p0"].get_finished_spans()[-1]
    assert failed.attributes["error.type"] == "ValueError" and failed.parent is None
    assert "a secret" not in failed.to_json()


def test_a_partys_spans_reach_its_collector() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    otlp: Any = importlib.import_module("secure.parties.process.otlp")
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        provider = otlp.provider_for("p0", f"http://127.0.0.1:{server.server_port}/v1/traces")
        spans: Any = importlib.import_module("secure.parties.process.spans")
        trace = spans.SpanTracer(provider).begin("p0", "predict", "ab" * 16, CONTEXT)
        trace.layer("layer 0")
        trace.end(None)
        provider.shutdown()
        server.shutdown()
    ((path, body),) = got
    assert path == "/v1/traces"
    for text in (b"secure-inference-p0", b"p0 predict", b"layer 0", b"ab" * 16, bytes.fromhex(CONTEXT.split("-")[1])):
        assert text in body


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "secure.parties.process.otlp", raising=False)
    path = tmp_path / "parties.toml"
    path.write_text(settings_toml({"p0": "127.0.0.1:1", "p1": "127.0.0.1:2", "dealer": "127.0.0.1:3"}, tmp_path))
    arguments = ["p0", "--config", str(path), "--trace", "http://127.0.0.1:4318/v1/traces"]

    def no_engine(limits: Limits, device: str) -> Any:
        return None

    assert party_process.main(arguments, no_engine) == ExitCode.CONFIGURATION
    assert "install the extra otel" in caplog.text
