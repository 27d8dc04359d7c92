"""One tiny model, one set of certificates; servers in the test's process on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure.ee.engine.server_engine import TransformersEngine
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import GenerationEngine
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from secure.parties.encrypted.tokens import SamplingParameters
from secure.protocols.equivariant.key import Key
from tests.secure.ee.fakes import FakeEngine
from tests.secure.ee.tiny import Tiny, make_tiny

Start = Callable[..., int]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generation") / "certificates"
    make_generation_certificates(folder, {"server": ["127.0.0.1"]})
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"), Key(bytes(range(32))))


@pytest.fixture(scope="session")
def tiny_engine(tiny: Tiny) -> TransformersEngine:
    return TransformersEngine(tiny.encrypted)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def start(certificates: Path) -> Iterator[Start]:
    """Start a server over an engine; gives its port."""
    servers: list[GenerationServer] = []

    def begin(engine: GenerationEngine, limits: GenerationLimits | None = None, address: str = "127.0.0.1:0") -> int:
        server = GenerationServer(address, certificates, engine, limits)
        port = server.start()
        servers.append(server)
        return port

    yield begin
    for server in servers:
        server.stop(0)


@pytest.fixture
def connect(certificates: Path) -> Iterator[Callable[..., GenerationClient]]:
    clients: list[GenerationClient] = []

    def dial(port: int, key_check: str, **options: float) -> GenerationClient:
        clients.append(GenerationClient(f"127.0.0.1:{port}", certificates, key_check, **options))
        return clients[-1]

    yield dial
    for client in clients:
        client.close()


def drain(client: GenerationClient, ids: list[int], sampling: SamplingParameters, **options: bool) -> list[int]:
    """All ids of a stream."""
    return [token for piece in client.generate(ids, sampling, **options) for token in piece.ids]
