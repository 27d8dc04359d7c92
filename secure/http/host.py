"""Runs an HTTP application in a thread of this process, and the rules of who may reach it."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from transformers.utils import logging as transformers_logging

from secure.http.app import LOOPBACK
from secure.parties.config import split_address
from secure.parties.process.main import stop_on_signals, wait_until_set
from secure.parties.transport.certificates.files import check_key_file
from secure.parties.transport.certificates.making import AUTHORITY
from secure.parties.transport.ports import cannot_listen
from secure.protocols.core.errors import ConfigurationError, SessionError

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_LOG = logging.getLogger("secure.http")


class HttpServer:
    """`start` binds and serves, `stop` ends it."""

    def __init__(self, app: Starlette, address: str, certificates: Path | None = None) -> None:
        """certificates: a folder with server.crt and server.key, for HTTPS. Raises ConfigurationError."""
        self._host, self._port = parsed(address)
        self._address = address
        tls: dict[str, str] = {}
        if certificates is not None:
            tls = {"ssl_certfile": str(certificates / "server.crt"), "ssl_keyfile": str(certificates / "server.key")}
            for path in tls.values():
                if not Path(path).is_file():
                    raise ConfigurationError(f"{path} is missing; make certificates with: secure ee certs --out DIR")
            check_key_file(certificates / "server.key")
        # No log of its own: its lines have paths and callers' addresses, and of an error the whole text.
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=tls.get("ssl_certfile"),
            ssl_keyfile=tls.get("ssl_keyfile"),
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Bind the port and serve; the port's number. Raises PortInUse, or ConfigurationError about the address."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server((self._host, self._port), family=family, backlog=128)
        except OSError as error:
            raise cannot_listen("the HTTP server", self._address, error) from None
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()
        # The socket accepts already; this waits until somebody answers.
        pause = threading.Event()
        for _ in range(int(_START_SECONDS / 0.01)):
            if self._server.started:
                return int(self._socket.getsockname()[1])
            if not self._thread.is_alive():
                break
            pause.wait(0.01)
        raise SessionError(f"the HTTP server on {self._address} did not start; its log says why")

    def stop(self) -> None:
        """Stop accepting, end every request, free the port."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()


def serve_until_stopped(app: Starlette, listen: str, what: str, names: Sequence[str], *, parent_on_stdin: bool) -> None:
    """Serve models in OpenAI's format until SIGTERM or SIGINT. what: the server, in a word. names: of the models."""
    stopping = stop_on_signals(parent_on_stdin)
    server = HttpServer(app, listen)
    port = server.start()
    if not is_loopback(listen):
        _LOG.warning("text crosses the network in clear between programs and this %s", what)
    _LOG.info("%s on http://%s:%d/v1, models: %s", what, parsed(listen)[0], port, ", ".join(names))
    try:
        wait_until_set(stopping)
        _LOG.info("stopping")
    finally:
        server.stop()


def callers_names(listen: str) -> Sequence[str]:
    """By what names callers may ask for a server: on loopback its own, elsewhere any, as a key keeps web pages out."""
    return LOOPBACK if is_loopback(listen) else ()


def log_to_stderr() -> None:
    """What a server's process logs, and that nothing else of it does."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"
    )
    transformers_logging.disable_progress_bar()
    # It names every URL it asks for, an address of the backend in each line.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def parsed(address: str) -> tuple[str, int]:
    """Host and port of an address to listen on, 0 for any port. Raises ConfigurationError."""
    host, _, port = address.rpartition(":")
    if host and port == "0":
        return host.strip("[]"), 0
    try:
        return split_address(address)
    except ValueError:
        raise ConfigurationError(f'the address is {address!r}; expected "host:port"') from None


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    return parsed(address)[0] in LOOPBACK


def check_exposure(address: str, api_key: str | None, what: str) -> None:
    """Raises ConfigurationError when other machines could use `what` without a key."""
    if api_key is None and not is_loopback(address):
        raise ConfigurationError(
            f"{what} on {address} can be reached by other machines, so it needs an API key: set it in the environment "
            "or name a file with it (see --help)"
        )


def check_origins(origins: Sequence[str]) -> None:
    """Raises ConfigurationError for what is no origin of a web page, such as one for all pages."""
    for origin in origins:
        scheme, separator, rest = origin.partition("://")
        if scheme not in ("http", "https") or not separator or not rest or "/" in rest or "*" in rest:
            raise ConfigurationError(
                f"--allow-origin {origin}: expected the origin of one web page, such as https://chat.example, with no "
                "path behind it"
            )


def authority_file(certificates: Path) -> Path:
    """The authority that a server's certificate is checked with."""
    return certificates / f"{AUTHORITY}.crt"
