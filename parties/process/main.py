"""The main function of one party's process, with the engine to be served passed in."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from secure.models.storage import system
from secure.parties.config import ALL_PARTIES, Limits
from secure.parties.process.exit_codes import ExitCode, exit_code, explained
from secure.parties.process.log_format import FORMATS, log_to_stderr
from secure.parties.process.server import SIGNAL_SECONDS, PartyServer
from secure.parties.roles import memory
from secure.parties.roles.engine import Engine
from secure.parties.session.tracing import SessionTracer
from secure.parties.settings_file import load_settings
from secure.protocols.core.errors import ConfigurationError, SecureInferenceError

_LOG = logging.getLogger("parties")


def main(arguments: Sequence[str], make_engine: Callable[[Limits, str], Engine]) -> ExitCode:
    """Serve one role until SIGTERM or SIGINT; the process's exit code.

    `make_engine` gets the settings' limits and the role's device, in which arguments may have changed some.
    """
    system.dump_no_core()
    memory.use_one_heap()
    options = _parser().parse_args(arguments)
    log_to_stderr(options.role, options.log_level, options.log_format, prefixed=options.parent_on_stdin)
    stopping = stop_on_signals(options.parent_on_stdin, options.remove_if_orphaned)
    try:
        settings = load_settings(options.config)
        given = {"threads": options.threads, "memory_bytes": options.memory_bytes}
        limits = replace(settings.limits, **{name: value for name, value in given.items() if value is not None})
        device = settings.device(options.role, options.device)
        tracer = _tracer(options.role, options.trace)
        server = PartyServer(replace(settings, limits=limits), options.role, make_engine(limits, device), tracer)
        server.start()
        _tell_manager("READY=1")
    except SecureInferenceError as error:
        code = exit_code(error)
        _LOG.error("%s", error)
        _LOG.error("%s", explained(code))
        return code
    wait_until_set(stopping)
    _tell_manager("STOPPING=1")
    if server.sessions and not options.parent_on_stdin:  # whose launcher stops all parties at once
        _LOG.info("stopping when %d sessions have ended; a second signal stops now", server.sessions)
        server.drain(stopping.again)
    _LOG.info("stopping")
    server.stop()
    end_what_computes(server.sessions)
    return ExitCode.OK


def _tracer(role: str, url: str | None) -> SessionTracer:
    """Who hears of a party's sessions. Raises ConfigurationError where the packages that tracing needs are missing."""
    if url is None:
        return SessionTracer()
    try:
        otlp = importlib.import_module("secure.parties.process.otlp")
    except ImportError as error:
        raise ConfigurationError(
            f"--trace needs the package {error.name}: install the extra otel, pip install 'secure-inference[otel]'"
        ) from None
    tracer: SessionTracer = otlp.otlp_tracer(role, url)
    return tracer


def _tell_manager(message: str) -> None:
    """Say how it stands to a service manager, where there is one that wants to know."""
    try:
        system.tell_service_manager(message)
    except OSError as error:
        _LOG.warning("the service manager is not told %s: %s", message, error.strerror)


class Stopping(threading.Event):
    """Set when the process is to stop. again: set when it was told so a second time, and is to stop at once."""

    def __init__(self) -> None:
        super().__init__()
        self.again = threading.Event()

    def tell(self) -> None:
        (self.again if self.is_set() else self).set()


def stop_on_signals(parent_on_stdin: bool = False, temporary: Path | None = None) -> Stopping:
    """An event that SIGTERM and SIGINT set; with `parent_on_stdin` also the end of standard input.

    `temporary` is a launcher's folder, removed when the launcher is gone.
    """
    stopping = Stopping()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.tell())
    if parent_on_stdin:
        threading.Thread(target=_watch_parent, args=(stopping, temporary), daemon=True).start()
    return stopping


def wait_until_set(stopping: threading.Event) -> None:
    """Wait, in steps: a signal that arrives just before a wait begins is handled only when the wait returns."""
    while not stopping.wait(SIGNAL_SECONDS):
        pass


def end_what_computes(sessions: int) -> None:
    """At the end of a process, end it here where sessions still compute.

    In the interpreter's own end a thread that is back from a gate would crash the process.
    """
    if sessions:
        _LOG.warning("a session still computes; it ends with this process")
        logging.shutdown()
        os._exit(ExitCode.OK)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -P -m secure.parties",
        description="Run one party of private inference until it is told to stop.",
        epilog="example: python -P -m secure.parties p0 --config parties.toml",
    )
    parser.add_argument("role", choices=ALL_PARTIES)
    parser.add_argument("--config", type=Path, required=True, metavar="TOML", help="addresses, certificates and limits")
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="threads of the tensor library (default: the settings')"
    )
    parser.add_argument(
        "--memory-bytes", type=_positive, metavar="N", help="what this process may take (default: the settings')"
    )
    parser.add_argument("--device", help="what this process computes on: cpu, cuda, cuda:1 (default: the settings')")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--log-format", choices=FORMATS, default=FORMATS[0], help="json: an object a line")
    parser.add_argument("--trace", metavar="URL", help="send spans of sessions to this collector, by OTLP over HTTP")
    parser.add_argument("--parent-on-stdin", action="store_true", help="stop when standard input ends (for launchers)")
    parser.add_argument(
        "--remove-if-orphaned", type=Path, metavar="DIR", help="a launcher's temporary folder, removed when it died"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _watch_parent(stopping: threading.Event, temporary: Path | None) -> None:
    """Stop when the launcher is gone. Its end of the pipe closes however it dies, SIGKILL included."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    if stopping.is_set():
        return
    _LOG.warning("the launcher is gone")
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    stopping.set()
