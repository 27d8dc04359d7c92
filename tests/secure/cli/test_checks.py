"""Each check of the doctor finds what it is for."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure.cli import checks
from secure.cli.checks import Check, examine
from secure.parties.config import PARTIES, settings_toml
from secure.parties.launcher import free_addresses
from secure.parties.transport.tls import make_certificates


def found(findings: list[Check], what: str) -> Check:
    return next(finding for finding in findings if finding.what.startswith(what))


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """A program that listens and is no party."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Three parties of which none runs, with fresh certificates."""
    make_certificates(tmp_path / "certs")
    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path / "certs"))
    return path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_CONNECT_SECONDS", 0.2)


def test_this_installation_is_well() -> None:
    findings = examine(None)
    assert [finding for finding in findings if finding.verdict == "fail"] == []
    assert {"python", "clock", "loopback"} <= {finding.what for finding in findings}


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["torch>=2", "numpy<1", "no-such-package-anywhere>=1", "bench-only>1; extra == 'bench'"]
    monkeypatch.setattr(checks.metadata, "requires", lambda name: requirements)
    findings = examine(None)
    assert found(findings, "torch").verdict == "ok"
    assert "numpy<1 is needed" in found(findings, "numpy").detail
    assert "not installed" in found(findings, "no-such-package-anywhere").detail
    assert not any(finding.what == "bench-only" for finding in findings)


def test_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert found(examine(None), "clock").verdict == "fail"


def test_configuration(tmp_path: Path) -> None:
    path = tmp_path / "parties.toml"
    assert "cannot be read" in found(examine(path), "configuration").detail
    path.write_text("[p2]\naddress = 'x'")
    assert found(examine(path), "configuration").verdict == "fail"


def test_nobody_runs(config: Path) -> None:
    findings = examine(config)
    for role in (*PARTIES, "client", "owner"):
        assert found(findings, f"certificate {role}").verdict == "ok"
    for role in PARTIES:
        finding = found(findings, f"{role} at ")
        assert finding.verdict == "fail"
        assert "its port is free on this host" in finding.detail
        assert f"secure party {role}" in finding.detail
    assert found(findings, "key separation").verdict == "note"


def test_port_in_use_by_something_else(config: Path, held: socket.socket) -> None:
    ours = next(line for line in config.read_text().splitlines() if line.startswith("address"))
    config.write_text(config.read_text().replace(ours, f'address = "127.0.0.1:{held.getsockname()[1]}"'))
    finding = found(examine(config), "p0 at ")
    assert finding.verdict == "fail"
    assert "in use, but not by a party that accepts us" in finding.detail


def test_a_partys_host_has_its_own_certificate_only(config: Path, held: socket.socket) -> None:
    for path in (config.parent / "certs").iterdir():
        if path.stem not in ("authority", "p1"):
            path.unlink()
    ours = next(line for line in config.read_text().splitlines() if line.startswith("address"))
    config.write_text(config.read_text().replace(ours, f'address = "127.0.0.1:{held.getsockname()[1]}"'))
    findings = examine(config)
    assert [finding.what for finding in findings if finding.what.startswith("certificate ")] == ["certificate p1"]
    assert found(findings, "p0 at ").verdict == "note"
    assert found(findings, "p1 at ").verdict == "fail"


def test_certificates(config: Path) -> None:
    folder = config.parent / "certs"
    (folder / "p0.key").chmod(0o644)
    (folder / "p1.crt").write_bytes((folder / "dealer.crt").read_bytes())
    folder.chmod(0o755)
    findings = examine(config)
    assert "other users may read" in found(findings, "certificate p0").detail
    assert "made out to ['dealer']" in found(findings, "certificate p1").detail
    assert found(findings, "certificate dealer").verdict == "ok"
    assert found(findings, "certificate folder").verdict == "note"


@pytest.mark.parametrize(("days", "verdict"), [(0, "fail"), (5, "note"), (90, "ok")])
def test_validity(config: Path, days: int, verdict: str) -> None:
    folder = config.parent / "certs"
    for path in folder.iterdir():
        path.unlink()
    make_certificates(folder, days=days)
    assert found(examine(config), "certificate p0").verdict == verdict


def test_no_certificates(config: Path) -> None:
    for path in (config.parent / "certs").iterdir():
        path.unlink()
    assert "secure certs --out" in found(examine(config), "certificates").detail


def test_models(config: Path) -> None:
    config.write_text(config.read_text() + '[models]\ndir = "shares"\n')
    assert found(examine(config), "models").verdict == "note"
    (config.parent / "shares").mkdir()
    (config.parent / "shares" / "manifest.json").write_text("{}")
    (config.parent / "shares" / "p1.safetensors").write_bytes(b"")
    assert found(examine(config), "models").detail.endswith("with p1.safetensors")
