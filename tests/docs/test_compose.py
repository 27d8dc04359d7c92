"""The compose file in examples/: a network, a volume and certificates a party, and no more than it needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure.parties.config import PARTIES, Limits
from secure.parties.settings_file import load_settings
from tests.docs.conftest import ROOT

FOLDER = ROOT / "examples" / "compose"
DOCKER = shutil.which("docker")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert set(found["services"]) == set(found["networks"]) == set(found["volumes"]) == set(PARTIES)
    services: dict[str, Any] = found["services"]
    return services


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_has_what_is_its_own_and_is_allowed_little(services: dict[str, Any], role: str) -> None:
    service = services[role]
    assert service["command"][0] == role and role in service["networks"]
    sources = [volume.split(":")[0] for volume in service["volumes"]]
    assert sources == [role, "./parties.toml", f"./certificates/{role}"]
    assert all(volume.endswith(":ro") for volume in service["volumes"][1:])
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    # Nothing is published, the admin port least of all.
    assert "ports" not in service and "network_mode" not in service and "privileged" not in service


def test_whoever_is_dialled_shares_a_network_with_whoever_dials(services: dict[str, Any]) -> None:
    """P0 dials p1; the dealer dials p0 and p1."""
    for dialler, dialled in (("p0", "p1"), ("dealer", "p0"), ("dealer", "p1")):
        assert dialled in services[dialler]["networks"]
    assert services["p1"]["networks"] == ["p1"]


def test_its_settings_are_read_and_the_health_check_asks_the_admin_port(services: dict[str, Any]) -> None:
    settings = load_settings(FOLDER / "parties.toml")
    for role in PARTIES:
        party = settings.party(role)
        assert (party.address, party.listen, party.admin) == (f"{role}:7100", "0.0.0.0:7100", "127.0.0.1:9100")
        assert f"http://{party.admin}/ready" in services[role]["healthcheck"]["test"][-1]
        assert int(services[role]["stop_grace_period"].removesuffix("s")) > Limits.drain_seconds
    assert settings.stock is not None and settings.stock.dir == Path("/var/lib/secure-inference/stock")


@pytest.mark.skipif(DOCKER is None, reason="docker is not installed")
def test_docker_takes_it() -> None:
    if subprocess.run([DOCKER or "", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [DOCKER or "", "compose", "--file", str(FOLDER / "compose.yaml"), "config", "--quiet"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
