"""Parties inside the test process: real gRPC over mutual TLS on loopback, the fake engine, one set of certificates."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.config import PARTIES, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.transport.certificates.making import make_certificates
from tests.parties.fakes import FakeManifest
from tests.parties.local import LocalParties

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "GRPC_ADDRESS_HTTP_PROXY")
"""The variables that gRPC looks at, and what it needs beside the last one."""
ADDRESSES = "GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES"


@pytest.fixture(params=PROXY_VARIABLES)
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener that a variable of the environment calls the proxy. Nobody accepts its connections."""
    for name in (*PROXY_VARIABLES, ADDRESSES, "no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        by_address = request.param == "GRPC_ADDRESS_HTTP_PROXY"
        monkeypatch.setenv(request.param, address if by_address else f"http://{address}")
        monkeypatch.setenv(ADDRESSES, "0.0.0.0/0")
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    make_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "other"
    make_certificates(folder)
    return folder


@pytest.fixture
def rendezvous_seconds() -> float:
    """How long a party waits for the others, on a busy machine, too. A test in which nobody comes has less."""
    return 60.0


@pytest.fixture
def settings(certificates: Path, rendezvous_seconds: float) -> PartiesSettings:
    addresses = free_addresses()
    limits = Limits(rendezvous_seconds=rendezvous_seconds, sessions=4)
    return PartiesSettings(
        {role: PartySettings(addresses[role], addresses[role]) for role in PARTIES}, certificates, limits=limits
    )


@pytest.fixture
def local_parties(settings: PartiesSettings) -> Iterator[LocalParties]:
    parties = LocalParties(settings)
    yield parties
    parties.stop_all()


@pytest.fixture
def client(local_parties: LocalParties) -> Iterator[Client]:
    with Client(local_parties.settings) as client:
        yield client


@pytest.fixture
def shares(tmp_path: Path) -> dict[str, Path]:
    """Share files as `FakeManifest` describes them."""
    files = {role: tmp_path / f"{role}.share" for role in ("p0", "p1")}
    for path in files.values():
        path.write_bytes(b"abc")
    return files


@pytest.fixture
def manifest(client: Client, shares: dict[str, Path]) -> FakeManifest:
    """A model that is loaded at `client`'s parties."""
    manifest = FakeManifest()
    client.load_model(manifest, shares)
    return manifest


@pytest.fixture
def copy_certificates(certificates: Path, tmp_path: Path) -> Callable[[], Path]:
    def copy() -> Path:
        return Path(shutil.copytree(certificates, tmp_path / "copy"))

    return copy
