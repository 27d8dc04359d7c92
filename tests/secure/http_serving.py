"""Applications on free ports of loopback, and an existing client for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from starlette.applications import Starlette

from secure.http.host import HttpServer


@pytest.fixture
def serve_http() -> Iterator[Callable[..., int]]:
    """Serve an application on a free port of loopback; gives the port."""
    servers: list[HttpServer] = []

    def begin(app: Starlette, certificates: Path | None = None) -> int:
        servers.append(HttpServer(app, "127.0.0.1:0", certificates))
        return servers[-1].start()

    yield begin
    for server in reversed(servers):
        server.stop()


@pytest.fixture
def openai_client() -> Iterator[Callable[..., openai.OpenAI]]:
    """An existing client: nothing but its base URL is changed."""
    clients: list[openai.OpenAI] = []

    def make(port: int, api_key: str = "unused", **options: object) -> openai.OpenAI:
        url = f"http://127.0.0.1:{port}/v1"
        clients.append(openai.OpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=60, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
