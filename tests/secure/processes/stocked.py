"""Processes that keep a stock, and what tests do to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from secure.cli.main import app
from secure.cli.options import GlobalOptions
from secure.parties.config import CALLERS
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.families import family


@contextmanager
def stocked(folder: Path, protocol: str, more: str = "") -> Iterator[Launcher]:
    """A family's processes, with a stock in `folder` under a key in memory. more: lines of their `[stock]`."""
    roles = family(protocol).roles
    make_certificates(folder / "certificates", roles=(*roles, *CALLERS))
    text = settings_toml(free_addresses(roles), folder / "certificates", protocol=protocol)
    (folder / "parties.toml").write_text(f"{text}\n[stock]\ndir = 'kept'\n{more}", encoding="utf-8")
    started = Launcher(folder / "parties.toml", stop_when_one_ends=False)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def secure_command(*arguments: str) -> str:
    """What a command prints; it has to end well."""
    done = CliRunner().invoke(app, list(arguments), obj=GlobalOptions())
    assert done.exit_code == 0, done.output
    return done.stdout


def end_process(launcher: Launcher, role: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a role's process a signal at which it ends, and wait until it has."""
    process = launcher._processes[role]
    os.kill(process.pid, number)
    process.wait(30)
