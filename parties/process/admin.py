"""The port for whoever runs a party: `/metrics` for Prometheus, `/health` and `/ready` for supervisors.

It has no TLS and asks for no certificate, so it belongs on loopback, or on a network of the operator's own.
"""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from secure.parties.config import split_address
from secure.parties.process.figures import Figures
from secure.parties.transport.ports import check_free

_LOG = logging.getLogger("parties")
_TEXT = "text/plain; charset=utf-8"


class AdminPort:
    """Answers GET on one address from a thread of its own."""

    def __init__(self, role: str, address: str, figures: Figures) -> None:
        """address: 'host:port'. Raises PortInUse, and ConfigurationError for an address that is not this machine's."""
        check_free(f"{role}'s admin port", address)
        handler = type("Handler", (_Handler,), {"figures": figures})
        self._server = ThreadingHTTPServer(split_address(address), handler)
        self._server.daemon_threads = True
        _LOG.info("metrics on http://%s/metrics", address)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="admin", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    figures: Figures
    timeout = 5.0
    """Seconds; whoever sends nothing keeps no thread."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, self.figures.exposition(), CONTENT_TYPE_LATEST)
        elif self.path == "/health":
            self._answer(200, b"alive\n", _TEXT)
        elif self.path == "/ready":
            reason = self.figures.why_not_ready()
            self._answer(503 if reason else 200, f"{reason or 'ready'}\n".encode(), _TEXT)
        else:
            self._answer(404, b"there are /metrics, /health and /ready\n", _TEXT)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each scrape would hide what matters."""

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
