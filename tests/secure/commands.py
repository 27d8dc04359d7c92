"""Commands in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

SECONDS = 250.0


class Process:
    """One of `secure`'s commands, as on the command line, and the lines that it logs."""

    def __init__(self, arguments: list[str], **environment: str) -> None:
        program = "from secure.cli.main import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments, "--parent-on-stdin"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def port(self, pattern: str) -> int:
        """The port in the first line that matches; waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(pattern) or not self._reader.is_alive(), SECONDS)
        found = self._find(pattern)
        assert found is not None, "\n".join(self.lines)
        return int(found[1])

    def end(self, how: Callable[[], None]) -> int:
        """Make it end; its exit code."""
        how()
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)
        for pipe in (self.process.stdin, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _find(self, pattern: str) -> re.Match[str] | None:
        return next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@pytest.fixture
def start_process() -> Iterator[Callable[..., Process]]:
    """Start a command; what still runs at the end is killed."""
    processes: list[Process] = []

    def begin(*arguments: str, **environment: str) -> Process:
        processes.append(Process(list(arguments), **environment))
        return processes[-1]

    yield begin
    for process in processes:
        process.close()
