"""Processes that keep a stock, and what tests do to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from bench.load.settings import write_settings
from secure.cli.main import app
from secure.cli.options import GlobalOptions
from secure.parties.launcher import Launcher


@contextmanager
def stocked(folder: Path, protocol: str, more: str = "") -> Iterator[Launcher]:
    """A family's processes, with a stock in `folder` under a key in memory. more: lines of their `[stock]`."""
    config = write_settings(folder, protocol, more=f"[stock]\ndir = 'kept'\n{more}")
    started = Launcher(config, stop_when_one_ends=False)
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
