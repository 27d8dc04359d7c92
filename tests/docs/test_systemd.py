"""The unit in examples/systemd: what systemd itself says of it, and that a party tells a service manager how it is."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from secure.parties.config import Limits
from secure.parties.process.exit_codes import ExitCode
from secure.parties.process.main import main
from secure.parties.settings_file import settings_toml
from tests.docs.conftest import ROOT

UNIT = ROOT / "examples" / "systemd" / "secure-party@.service"
ANALYZE = shutil.which("systemd-analyze")
_MOST_EXPOSURE = 3.0


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run over a copy of one instance, whose program is one that is here."""
    path = folder / "secure-party@p1.service"
    path.write_text(UNIT.read_text().replace("/opt/secure-inference/bin/secure", "/bin/true"))
    command = [ANALYZE or "", *arguments, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    found = analyze(tmp_path, "verify")
    assert found.returncode == 0 and not found.stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_unit_is_exposed_to_little(tmp_path: Path) -> None:
    found = analyze(tmp_path, "security", "--offline=yes")
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd-analyze examines no files")
    level = re.search(r"exposure level for \S+: ([0-9.]+)", found.stdout)
    assert level is not None and float(level[1]) <= _MOST_EXPOSURE


def test_the_unit_waits_longer_than_a_party_drains() -> None:
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert seconds is not None and int(seconds[1]) > Limits.drain_seconds


def test_a_party_says_when_it_is_ready_and_when_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, address = tmp_path / "parties.toml", str(tmp_path / "notify")
    path.write_text(settings_toml({"p0": "127.0.0.1:1", "p1": "127.0.0.1:2", "dealer": "127.0.0.1:3"}, tmp_path))
    server = SimpleNamespace(sessions=0, start=lambda: None, stop=lambda: None)
    monkeypatch.setattr("secure.parties.process.main.PartyServer", lambda *arguments: server)
    monkeypatch.setattr("secure.parties.process.main.wait_until_set", lambda stopping: None)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        assert main(["p0", "--config", str(path)], lambda limits, device: None) == ExitCode.OK  # type: ignore[arg-type, return-value]
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]
    os.unlink(address)
    # A manager that is gone ends nothing.
    assert main(["p0", "--config", str(path)], lambda limits, device: None) == ExitCode.OK  # type: ignore[arg-type, return-value]
