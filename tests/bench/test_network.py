"""Networks to measure on: what is made is what the label says."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import network
from bench.network import NETWORKS, Namespaces, Network, may_make_namespaces, parties_on
from secure.parties.client.client import Client
from secure.protocols.core.errors import ConfigurationError
from tests.checkout import ROOT
from tests.parties.fakes import FakeManifest, FakeRequest

PROGRAM = "tests.parties.fake_process"
SENDER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sender:
    sender.sendall(bytes(int(sys.argv[3])))
"""
WAITER = """
import time
from bench.network import Namespaces
with Namespaces(1e9) as made:
    print(made.prefixes["p0"][-1], flush=True)
    time.sleep(600)
"""
needs_namespaces = pytest.mark.usefixtures("namespaces_permitted")


@pytest.fixture
def namespaces_permitted() -> None:
    if not may_make_namespaces():
        pytest.skip("network namespaces are not permitted here")


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="unknown network 'moon'; known: loopback, lan, wan"),
        parties_on("moon", tmp_path),
    ):
        pass


def test_the_names_mean_what_is_documented() -> None:
    assert (NETWORKS["lan"].bits_per_second, 2 * NETWORKS["lan"].delay_seconds) == (1e9, 0.001)
    assert (NETWORKS["wan"].bits_per_second, 2 * NETWORKS["wan"].delay_seconds) == (200e6, 0.04)
    assert not NETWORKS["loopback"].measure.shapes


@needs_namespaces
def test_a_namespace_sends_no_faster_than_its_rate() -> None:
    rate, size_bytes = 80e6, 3_000_000
    with Namespaces(rate) as made, socket.create_server(("", 0)) as server:
        bridge = made.addresses["p0"].rsplit(".", 1)[0] + ".254"
        address = [bridge, str(server.getsockname()[1]), str(size_bytes)]
        server.settimeout(20)
        with subprocess.Popen([*made.prefixes["p0"], sys.executable, "-c", SENDER, *address]):
            connection, _ = server.accept()
            started, received = time.monotonic(), 0
            with connection:
                while chunk := connection.recv(1 << 16):
                    received += len(chunk)
            seconds = time.monotonic() - started
    assert received == size_bytes
    # The bucket lets its burst through at once.
    assert seconds >= 0.9 * (size_bytes - (1 << 17)) * 8 / rate


@needs_namespaces
def test_nothing_is_left_of_the_namespaces() -> None:
    with Namespaces(1e9) as made:
        name = made.prefixes["p0"][-1]
        assert name in listed("netns") and name.removesuffix("-p0") in listed("link")
    assert name not in listed("netns") and name.removesuffix("-p0") not in listed("link")


@needs_namespaces
def test_who_is_terminated_leaves_no_namespaces_behind() -> None:
    command = [sys.executable, "-c", WAITER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert name in listed("netns")
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert name not in listed("netns") and name.removesuffix("-p0") not in listed("link")


def test_the_handler_of_before_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        network, "_run", lambda command, check=True: ran.append((command, signal.getsignal(signal.SIGTERM)))
    )
    before = signal.getsignal(signal.SIGTERM)
    with Namespaces(1e9):
        made = len(ran)
    assert signal.getsignal(signal.SIGTERM) is before
    assert {handler for _, handler in ran[:made]} == {network._terminated}
    assert {handler for _, handler in ran[made:]} == {signal.SIG_IGN}, "a second signal does not stop the removal"


def listed(kind: str) -> str:
    return subprocess.run(["ip", kind, "list"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("permitted", [True, False])
def test_parties_on_a_slow_network(permitted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if permitted and not may_make_namespaces():
        pytest.skip("network namespaces are not permitted here")
    slow = Network(bits_per_second=80e6, delay_seconds=0.01)
    monkeypatch.setitem(NETWORKS, "slow", slow)
    monkeypatch.setattr(network, "may_make_namespaces", lambda: permitted)
    shares = {role: tmp_path / role for role in ("p0", "p1")}
    for path in shares.values():
        path.write_bytes(b"abc")
    with (
        parties_on("slow", tmp_path, offline_first=True, module=PROGRAM) as running,
        Client(running.launcher.settings) as client,
    ):
        assert ("namespaces not permitted" in running.label["bandwidth"]) == (not permitted)
        assert (running.launcher.settings.measure.bytes_per_second == math.inf) == permitted
        manifest = FakeManifest()
        client.load_model(manifest, shares)
        request = FakeRequest(layers=5, correction_bytes=500_000)
        prediction = client.predict(manifest.digest, manifest.policy.digest(), request, (b"ab", b"cd"))
    assert prediction.payloads == (b"ba", b"dc")
    assert prediction.costs.offline_seconds is not None
    # 2.5 MB at 10 MB/s, less the bucket's burst.
    assert prediction.costs.offline_seconds >= 0.2
    assert prediction.costs.seconds - prediction.costs.offline_seconds >= 5 * slow.delay_seconds
