"""What a party shows of itself: to Prometheus, to supervisors, to its peers."""

from __future__ import annotations

import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from prometheus_client.parser import text_string_to_metric_families

from secure.parties.client.client import Client
from secure.parties.client.status import statuses
from secure.parties.config import PartiesSettings
from secure.parties.process.log_format import JsonLines
from secure.parties.session.session import CURRENT
from secure.protocols.core.errors import ConfigurationError, PortInUse, ProtocolError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

MANIFEST = FakeManifest()


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def settings(settings: PartiesSettings) -> PartiesSettings:
    p1 = replace(settings.parties["p1"], admin=free_address())
    return replace(settings, parties=MappingProxyType({**settings.parties, "p1": p1}))


@pytest.fixture
def client(local_parties: LocalParties, shares: dict[str, Path]) -> Iterator[Client]:
    with Client(local_parties.settings) as client:
        client.load_model(MANIFEST, shares)
        yield client


def predict(client: Client, request: FakeRequest) -> None:
    client.predict(MANIFEST.digest, MANIFEST.policy.digest(), request, (b"ab", b"cd"))


def get(settings: PartiesSettings, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{settings.parties['p1'].admin}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(settings: PartiesSettings) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(get(settings, "/metrics")[1]):
        for sample in family.samples:
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_metrics_count_sessions_by_result_and_bytes_by_peer(local_parties: LocalParties, client: Client) -> None:
    settings = local_parties.settings
    predict(client, FakeRequest(message_bytes=1000))
    with pytest.raises(ProtocolError):
        predict(client, FakeRequest(fail_at="p1 1"))
    eventually(lambda: figures(settings).get(("secure_sessions_total", "predict", "ProtocolError")) == 1)
    found = figures(settings)
    assert found["secure_sessions_total", "load", "ok"] == found["secure_sessions_total", "predict", "ok"] == 1
    assert found["secure_session_seconds_count", "predict"] == 2
    for direction in ("sent", "received"):
        assert found["secure_payload_bytes_total", direction, "p0"] >= 3000
    assert found["secure_models",] == 1 and found["secure_sessions_running",] == found["secure_sessions_waiting",] == 0
    assert found["secure_certificate_seconds_left",] > 0 and found["process_resident_memory_bytes",] > 1e6


def test_a_party_is_ready_until_it_is_to_stop(local_parties: LocalParties) -> None:
    settings = local_parties.settings
    assert get(settings, "/health") == (200, "alive\n") and get(settings, "/ready") == (200, "ready\n")
    assert get(settings, "/elsewhere")[0] == 404
    local_parties.servers["p1"]._places.close()
    assert get(settings, "/ready") == (503, "it is about to stop\n") and get(settings, "/health")[0] == 200
    local_parties.stop("p1")
    with pytest.raises(OSError):
        get(settings, "/health")


def test_an_admin_port_that_is_taken_is_named(settings: PartiesSettings) -> None:
    host, _, port = settings.parties["p1"].admin.partition(":")
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        with pytest.raises(PortInUse, match="p1's admin port"):
            LocalParties(settings)


def test_peers_and_owner_get_the_status_and_a_client_does_not(
    local_parties: LocalParties, client: Client, tmp_path: Path
) -> None:
    settings = local_parties.settings
    with pytest.raises(ProtocolError):
        predict(client, FakeRequest(fail_at="p1 1"))
    eventually(lambda: statuses(settings)["p1"].said["last_failure"] is not None)  # type: ignore[index]
    local_parties.stop("dealer")
    short = replace(settings, limits=replace(settings.limits, rendezvous_seconds=0.5))
    found = statuses(short)
    said = found["p1"].said
    assert said is not None and said["state"] == "serving" and said["models"] == [MANIFEST.digest[:12]]
    assert said["last_failure"][0] == "ProtocolError" and said["stock"] is None and said["sessions"] == 0
    assert abs(found["p1"].clock_difference_seconds) < 60
    assert found["dealer"].said is None and "dealer at" in found["dealer"].why_not
    for name in ("ca.crt", "client.crt", "client.key"):
        source = settings.tls_dir / name
        if source.is_file():
            (tmp_path / name).write_bytes(source.read_bytes())
            (tmp_path / name).chmod(0o600)
    with pytest.raises(ConfigurationError, match="no certificate and key of a party or owner"):
        statuses(replace(settings, tls_dir=tmp_path))


def test_a_line_of_the_log_is_an_object_with_its_session() -> None:
    record = logging.LogRecord("parties", logging.WARNING, "file", 1, "it %s\nso", ("goes",), None)
    token = CURRENT.set("0123456789abcdef")
    try:
        line = JsonLines("p1").format(record)
    finally:
        CURRENT.reset(token)
    fields = json.loads(line)
    assert "\n" not in line and fields.pop("time").endswith("+00:00")
    assert fields == {"level": "warning", "role": "p1", "event": "it goes\nso", "session": "01234567"}
    assert "session" not in json.loads(JsonLines("p1").format(record))
