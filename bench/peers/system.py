"""What every system under comparison can do, and a peer in a process of its own that does it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from bench.peers.errors import PeerError

ROOT = Path(__file__).parent.parent.parent
_STOP_SECONDS = 10.0
_LAST_LINES = 3

Figures = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """figures: at least seconds, bytes_sent_per_party, peak_memory_bytes. output: float [B, T, D]."""

    figures: Figures
    output: np.ndarray[Any, Any]


class System(Protocol):
    """One side of a comparison. It stays ready between runs and computes only in `run`."""

    name: str
    includes: str
    """What its seconds count,"""
    excludes: str
    """and what they leave out."""

    def start(self) -> Figures:
        """Get ready. Returns versions and configuration. Raises PeerError."""

    def run(self) -> Run:
        """Compute once. Raises PeerError."""

    def stop(self) -> None:
        """End what was started. Safe to call at any time, and more than once."""


class Peer:
    """A runner behind the line protocol of `bench.peers.lines`."""

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        *,
        includes: str,
        excludes: str,
        scratch: Path,
        answer_seconds: float = 600.0,
    ) -> None:
        """command: called at the start; makes the environment if need be, and returns the runner's command line."""
        self.name = name
        self.includes = includes
        self.excludes = excludes
        self._command = command
        self._output = scratch / f"{name}.npy"
        self._answer_seconds = answer_seconds
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._errors: IO[str] | None = None

    def start(self) -> Figures:
        """Start the runner and wait for its description."""
        command = self._command()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            # A group of its own: a runner that hangs is ended together with its parties.
            start_new_session=True,
        )
        # If all of them together need more memory than there is, this one ends and is reported, not a bystander.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
        threading.Thread(target=self._read, args=(self._process,), name=f"{self.name} answers", daemon=True).start()
        return self._answer()

    def run(self) -> Run:
        """One run of the runner."""
        if self._process is None or self._process.stdin is None:
            raise PeerError("not started")
        try:
            self._process.stdin.write(json.dumps({"cmd": "run", "output": str(self._output)}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._last_words()) from None
        figures = self._answer()
        return Run(figures, np.load(self._output, allow_pickle=False))

    def stop(self) -> None:
        """Close its input, at which a runner ends; kill it and its parties if it does not."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put(None)

    def _answer(self) -> Figures:
        try:
            line = self._answers.get(timeout=self._answer_seconds)
        except queue.Empty:
            raise PeerError(f"no answer within {self._answer_seconds:.0f} s") from None
        if line is None:
            raise PeerError(self._last_words())
        answer: Figures = json.loads(line)
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        if self._process is None or self._errors is None:
            return "stopped"
        status = self._process.wait()
        self._errors.seek(0)
        last = " / ".join(self._errors.read().strip().splitlines()[-_LAST_LINES:])
        return f"ended with status {status}" + (f": {last}" if last else "")
