"""`secure doctor --measure`: each host adds the pairs that it can measure to one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure.cli import checks
from secure.cli.main import app
from secure.models.latency import NetworkLink, find_network, network_toml
from secure.parties.client import measuring
from secure.parties.launcher import free_addresses
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import ConfigurationError
from tests.parties.local import LocalParties


@pytest.fixture
def config(tmp_path: Path) -> Path:
    make_certificates(tmp_path / "certs")
    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path / "certs"))
    return path


@pytest.fixture
def running(config: Path) -> Iterator[LocalParties]:
    parties = LocalParties(load_settings(config))
    yield parties
    parties.stop_all()


@pytest.mark.usefixtures("running")
def test_every_pair_is_measured_from_where_all_certificates_are(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_CONNECT_SECONDS", 60.0)
    path = tmp_path / "network.toml"
    done = CliRunner().invoke(app, ["doctor", "--config", str(config), "--measure", str(path)])
    assert done.exit_code == 0, done.output
    assert "p0 and p1: " in done.output and "Mbps" in done.output
    network = find_network(str(path))
    parties = ("p0", "p1", "dealer")
    pairs = {frozenset(pair) for pair in zip(parties, (*parties[1:], parties[0]), strict=True)}
    assert set(network.links) == pairs | {frozenset(("client", party)) for party in parties}


@pytest.mark.usefixtures("running")
def test_a_host_adds_its_own_pairs_to_the_others(config: Path, tmp_path: Path) -> None:
    path, before = tmp_path / "network.toml", frozenset(("p0", "p1"))
    path.write_text(network_toml({before: NetworkLink(0.5, 1e6)}, "of another host"))
    for role in ("p0", "p1", "client", "owner"):
        (tmp_path / "certs" / f"{role}.key").unlink()
    found, hosts = measuring.measure(config, path)
    assert set(found) == {frozenset(("dealer", "p0")), frozenset(("dealer", "p1"))}
    assert set(hosts) == {"dealer"}, "the party that is here"
    written = find_network(str(path))
    links = written.links
    assert set(written.hosts) == {"dealer"}
    assert links[before] == NetworkLink(0.5, 1e6) and set(links) == {before, *found}


def test_a_host_without_certificates_is_told_so(config: Path, tmp_path: Path) -> None:
    for key in (tmp_path / "certs").glob("*.key"):
        key.unlink()
    with pytest.raises(ConfigurationError, match="no certificate and key of a party or client"):
        measuring.measure(config, tmp_path / "network.toml")


def test_it_needs_a_configuration(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--measure", str(tmp_path / "network.toml")])
    assert isinstance(done.exception, ConfigurationError)
    assert exit_code(done.exception) == ExitCode.CONFIGURATION
