"""A classifier behind HTTP: what is asked, and what becomes of other answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from secure.protocols.core.errors import ConfigurationError, InputError, SessionError
from secure.verifier.endpoint import ClassifyEndpoint
from secure.verifier.services import answers_of, asked


class Handler(BaseHTTPRequestHandler):
    """Answers with what the test wants; keeps what was asked."""

    content: bytes = b""
    status = 200
    seen: Any = None

    def do_POST(self) -> None:
        type(self).seen = (
            json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
            self.headers["Authorization"],
        )
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/classify"
        server.shutdown()
        thread.join()


def test_texts_are_posted_and_rows_come_in_the_order_of_the_texts(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [{"index": 1, "probs": [0.25, 0.75]}, {"index": 0, "probs": [1.0, 0.0]}]
    monkeypatch.setattr(Handler, "content", json.dumps({"data": data}).encode())
    service = ClassifyEndpoint(address, "a model", headers={"Authorization": "Bearer token"})
    _, answers = asked(service, ["one", "two"])
    assert answers.argmax(-1).tolist() == [0, 1]
    assert Handler.seen == ({"model": "a model", "input": ["one", "two"]}, "Bearer token")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"data": [{"probs": 1}]}', b'{"data": [{"index": 0, "probs": "x"}]}']
)
def test_other_answers_are_no_rows(address: str, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(Handler, "content", content)
    service = ClassifyEndpoint(address, "a model")
    assert answers_of(service, ["one", "two"]).shape != (2, 2)
    with pytest.raises(InputError):
        asked(service, ["one", "two"])


def test_a_server_that_fails_or_is_not_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 503)
    with pytest.raises(SessionError, match="HTTP status 503"):
        ClassifyEndpoint(address, "a model")(["one"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SessionError, match="Connection refused"):
        ClassifyEndpoint(f"http://127.0.0.1:{port}/classify", "a model")(["one"])
    with pytest.raises(ConfigurationError, match="must begin with http"):
        ClassifyEndpoint("file:///etc/passwd", "a model")
