"""Parties as hosts apart have them: a network namespace and an address each, at first their own, then a router's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.network import Namespaces, may_make_namespaces
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PARTIES
from secure.parties.launcher import launch
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.faults.line import Line

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(600)]
GIGABIT = 1e9


@pytest.fixture
def hosts() -> Iterator[Namespaces]:
    if not may_make_namespaces():
        pytest.skip("this user may make no network namespaces here (ip netns)")
    with Namespaces(GIGABIT) as namespaces:
        yield namespaces


@pytest.mark.parametrize("behind_routers", [False, True], ids=["own addresses", "behind routers"])
def test_parties_meet_at_their_addresses(
    hosts: Namespaces, tmp_path: Path, shares: dict[str, Path], behind_routers: bool
) -> None:
    """A router has the address that others dial, and forwards to a host, which listens on its own."""
    make_certificates(tmp_path / "certificates", roles=(*PARTIES, *CALLERS))
    with ExitStack() as ending:
        seen = dict(hosts.addresses)
        if behind_routers:
            router = f"{hosts.addresses['p0'].rsplit('.', 1)[0]}.254"
            seen = {role: ending.enter_context(Line(own, router)).address for role, own in hosts.addresses.items()}
        text = settings_toml(seen, tmp_path / "certificates")
        if behind_routers:
            for role, own in hosts.addresses.items():
                listen = f'listen = "0.0.0.0:{own.rsplit(":", 1)[1]}"'
                text = text.replace(f'address = "{seen[role]}"', f'address = "{seen[role]}"\n{listen}')
        config = tmp_path / "parties.toml"
        config.write_text(f"{text}\n[limits]\nrendezvous_seconds = 60.0\n", encoding="utf-8")
        running = ending.enter_context(launch(config, module="tests.parties.fake_process", prefixes=hosts.prefixes))
        client, manifest = ending.enter_context(Client(running.settings)), FakeManifest()
        client.load_model(manifest, shares)
        done = client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(), (b"ab", b"cd"))
        assert done.payloads == (b"ba", b"dc")
        assert set(done.costs.reports) == set(PARTIES)
