"""Each check of the doctor finds what it is for."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from secure.cli import checks
from secure.cli.checks import Check, examine
from secure.models.checkpoint.conversion import split_checkpoint
from secure.parties.config import PARTIES
from secure.parties.launcher import free_addresses
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.transport.certificates.making import make_certificates
from tests.parties.local import LocalParties


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
    assert "in use, but not by a party: another program has it" in finding.detail


def test_a_partys_host_has_its_own_certificate_only(config: Path, held: socket.socket) -> None:
    for path in (config.parent / "certs").iterdir():
        if path.stem not in ("authority", "p1"):
            path.unlink()
    ours = next(line for line in config.read_text().splitlines() if line.startswith("address"))
    config.write_text(config.read_text().replace(ours, f'address = "127.0.0.1:{held.getsockname()[1]}"'))
    findings = examine(config)
    assert [finding.what for finding in findings if finding.what.startswith("certificate ")] == ["certificate p1"]
    assert "another program has it" in found(findings, "p0 at ").detail
    assert "not reachable" in found(findings, "p1 at ").detail


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


@pytest.fixture
def running(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalParties]:
    """The parties of `config`, in this process."""
    monkeypatch.setattr(checks, "_CONNECT_SECONDS", 60.0)
    settings = load_settings(config)
    own = Path(shutil.copytree(settings.tls_dir, config.parent / "own"))  # what happens on this host is none of theirs
    parties = LocalParties(settings, {role: replace(settings, tls_dir=own) for role in PARTIES})
    yield parties
    parties.stop_all()


def keep(folder: Path, *roles: str) -> None:
    """Leave the certificates of these roles alone, as on a host."""
    for path in folder.iterdir():
        if path.stem not in ("authority", *roles):
            path.unlink()


@pytest.mark.parametrize(("host", "verdict"), [("client", "reachable, and serving"), ("p1", "accept each other's")])
def test_each_host_sees_parties_that_are_well(config: Path, running: LocalParties, host: str, verdict: str) -> None:
    keep(config.parent / "certs", host)
    findings = examine(config)
    assert [finding for finding in findings if finding.verdict == "fail"] == []
    assert all(verdict in found(findings, f"{role} at ").detail for role in PARTIES)


@pytest.mark.parametrize("host", ["client", "dealer"])
def test_certificates_of_another_run(config: Path, running: LocalParties, host: str) -> None:
    shutil.rmtree(config.parent / "certs")
    make_certificates(config.parent / "certs")
    keep(config.parent / "certs", host)
    findings = examine(config)
    for role in PARTIES:
        finding = found(findings, f"{role} at ")
        assert finding.verdict == "fail"
        assert "made by another run of secure certs; give all hosts the certificates of one run" in finding.detail
        assert "ssl" not in finding.detail.lower()


def test_a_party_that_does_not_take_our_certificate(config: Path, running: LocalParties) -> None:
    """As where the authority's file was copied to this host, and the two others were not."""
    folder = config.parent / "certs"
    theirs = (folder / "authority.crt").read_bytes()
    shutil.rmtree(folder)
    make_certificates(folder)
    keep(folder, "client")
    (folder / "authority.crt").write_bytes((folder / "authority.crt").read_bytes() + theirs)
    assert "refuses client's certificate" in found(examine(config), "p0 at ").detail


def test_an_address_where_another_role_answers(config: Path, running: LocalParties) -> None:
    addresses = {role: running.settings.parties[role].address for role in PARTIES}
    config.write_text(
        settings_toml(addresses | {"p0": "localhost:" + addresses["p1"].split(":")[1]}, config.parent / "certs")
    )
    assert "made out to another role" in found(examine(config), "p0 at ").detail


def test_a_name_that_does_not_resolve(config: Path) -> None:
    config.write_text(settings_toml(free_addresses() | {"p1": "p1.invalid:7100"}, config.parent / "certs"))
    assert "the name 'p1.invalid' does not resolve" in found(examine(config), "p1 at ").detail


@pytest.fixture
def split(config: Path, checkpoint: Path) -> Path:
    """The folder of a split model that `config` names."""
    config.write_text(config.read_text() + '[models]\ndir = "shares"\n')
    split_checkpoint(checkpoint, config.parent / "shares")
    return config.parent / "shares"


def test_models(config: Path, split: Path) -> None:
    findings = examine(config)
    assert found(findings, "model shares").verdict == "ok"
    assert found(findings, "share of p0").verdict == found(findings, "share of p1").verdict == "ok"
    for role in PARTIES:
        assert "the model fits" in found(findings, f"memory of {role}").detail


def test_shares_that_are_missing_or_of_another_split(config: Path, split: Path) -> None:
    (split / "p0.safetensors").unlink()
    (split / "p1.safetensors").write_bytes((split / "p1.safetensors").read_bytes()[:-1] + b"x")
    findings = examine(config)
    assert "p0.safetensors is missing; copy it there" in found(findings, "share of p0").detail
    assert "its hash differs); copy both again" in found(findings, "share of p1").detail
    assert not any(finding.what == "share of dealer" for finding in findings)
    # A host looks for the shares of its own roles.
    keep(config.parent / "certs", "p1")
    assert not any(finding.what == "share of p0" for finding in examine(config))


def test_a_model_beyond_a_partys_memory(config: Path, split: Path) -> None:
    config.write_text(config.read_text() + "[limits]\nmemory_bytes = 1\n")
    finding = found(examine(config), "memory of p1")
    assert finding.verdict == "fail"
    assert "p1 needs" in finding.detail and "raise [limits] memory_bytes" in finding.detail


def test_a_manifest_that_cannot_be_read(config: Path, split: Path) -> None:
    (split / "manifest.json").write_text("{}")
    assert found(examine(config), "model shares").verdict == "fail"


def test_no_models(config: Path) -> None:
    config.write_text(config.read_text() + '[models]\ndir = "shares"\n')
    assert found(examine(config), "models").verdict == "note"
