"""The manager of one party: it has read the whole program before, and forks a party again at once when it was killed.

A party is a process of its own with its own connections; what it shares with the next one is the program's memory, read
and never written, so that a kill costs a fork and not another start of the interpreter. The key of the stock lies in a
descriptor that all of them inherit. Said on standard error: which process serves, and that one was killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.kills import party
from secure.parties.config import Limits
from secure.parties.process.main import main
from secure.parties.process.model_engine import ModelEngine, warm_up
from secure.parties.roles.engine import Engine
from secure.parties.settings_file import load_settings
from secure.protocols.core.transfer import CPU

BEGINS, KILLED = "the party's process is ", "the party was killed"


def supervise(arguments: Sequence[str]) -> int:
    """Run a party until it ends by itself; its exit code. arguments: a party's, its role first."""
    settings = load_settings(Path(arguments[arguments.index("--config") + 1]))
    party.prepare(arguments[0], settings.tls_dir.parent)
    torch.set_num_threads(settings.limits.threads)
    warm_up(CPU)  # compiles and reads what each party would
    child = 0

    def pass_on(number: int, _: object) -> None:
        if child:
            os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return _serve(arguments)
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return os.waitstatus_to_exitcode(status)
        _say(KILLED)


def _serve(arguments: Sequence[str]) -> int:
    """In the forked process."""
    if "LISTEN_PID" in os.environ:  # the key's descriptor is meant for this one
        os.environ["LISTEN_PID"] = str(os.getpid())
    _say(f"{BEGINS}{os.getpid()}")
    return main(arguments, _engine)


def _engine(limits: Limits, device: str) -> Engine:
    return ModelEngine(limits.memory_bytes)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
