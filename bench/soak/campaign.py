"""One phase of a soak: clients predict without a pause, roles are killed in turn, and one party lives through it all.

What grows is looked for where nothing is restarted: at the party that lives, and in this process, where the clients
are. It is looked at twice with nothing running, after some predictions and at the end.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from prometheus_client.parser import text_string_to_metric_families

import secure
from bench.load.sending import at_times
from bench.load.settings import write_settings
from bench.shapes import small_bert
from secure.connection import Parties
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.parties.client.client import Client
from secure.parties.config import PARTIES
from secure.parties.launcher import Launcher, free_addresses
from secure.protocols.core.errors import SecureInferenceError

IDS = torch.tensor([[2, 7, 9, 3]])
ERROR = 5e-3
MOST_GROWN = {"memory_bytes": 5_000_000, "threads": 0, "files": 0, "sessions": 0, "waiting": 0}
"""What may be more at the end than at half of it."""
_PAUSE_SECONDS = 0.2
_SETTLE_SECONDS = 30.0
_TRYING_SECONDS = 900.0
"""A role that was killed starts again meanwhile, on a busy machine, too."""
_CLIENTS = "clients"


@dataclass(frozen=True)
class Phase:
    """lives: the party that is not killed. killed: who is, one after another. Others of their numbers: of all."""

    lives: str
    killed: Sequence[str]
    predictions: int
    clients: int


@dataclass(frozen=True)
class Held:
    """What a process holds. sessions, waiting: at a party, by its own figures."""

    memory_bytes: int
    threads: int
    files: int
    sessions: int = 0
    waiting: int = 0


@dataclass
class Soaked:
    """What came of a phase. ended: kinds of errors that clients met → how often; each prediction was tried again."""

    phase: Phase
    answers: int
    wrong: int
    ended: dict[str, int]
    before: dict[str, Held]
    after: dict[str, Held]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "grown": self.grown(), "within": self.within()}

    def grown(self) -> dict[str, dict[str, int]]:
        """By process, of each thing that it holds."""
        return {
            name: {what: value - getattr(self.before[name], what) for what, value in asdict(held).items()}
            for name, held in self.after.items()
        }

    def within(self) -> bool:
        """Whether every answer came, was right, and nothing has grown by more than it may."""
        small = all(value <= MOST_GROWN[what] for held in self.grown().values() for what, value in held.items())
        return small and not self.wrong and self.answers == self.phase.predictions


def soak(phase: Phase, folder: Path) -> Soaked:
    """Run a phase in an empty folder. Raises what a party that cannot be started again does."""
    due = _model(folder)
    admin = free_addresses(PARTIES)
    limits = "[limits]\nrendezvous_seconds = 60.0\nbusy_seconds = 600.0\n"
    config = write_settings(folder, more=limits, models_dir=folder / "split", admin=admin)
    with Launcher(config, stop_when_one_ends=False) as launcher:
        launcher.start()
        with Parties(Client(launcher.settings)) as parties:
            model = secure.PrivateModel.from_pretrained(folder / "client", parties=parties, progress=False)
            return _Soaking(phase, launcher, model, due, admin[phase.lives]).run()


class _Soaking:
    def __init__(
        self, phase: Phase, launcher: Launcher, model: secure.PrivateModel, due: torch.Tensor, admin: str
    ) -> None:
        self._phase = phase
        self._launcher = launcher
        self._model = model
        self._due = due
        self._admin = admin
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self._answers = 0
        self._wrong = 0
        self._ended: Counter[str] = Counter()

    def run(self) -> Soaked:
        began, phase = time.monotonic(), self._phase
        half = phase.predictions // 2
        kills = (len(phase.killed) + 1) // 2
        self._predict(half, phase.killed[:kills])
        before = self._held()
        self._predict(phase.predictions - half, phase.killed[kills:])
        after = self._held()
        seconds = time.monotonic() - began
        return Soaked(phase, self._answers, self._wrong, dict(self._ended), before, after, round(seconds, 1))

    def _predict(self, count: int, killed: Sequence[str]) -> None:
        begun, stop = self._answers, threading.Event()
        failed: list[BaseException] = []

        def kill() -> None:
            """Each at its part of the predictions."""
            try:
                for turn, role in enumerate(killed, start=1):
                    while self._answers - begun < count * turn / (len(killed) + 1):
                        if stop.wait(_PAUSE_SECONDS):
                            return
                    os.kill(number := self._launcher.process_ids[role], signal.SIGKILL)
                    # Until all of its threads are gone; the launcher has yet to hear of its end.
                    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
                    self._launcher.restart(role)
            except BaseException as error:
                failed.append(error)
                self._given_up.set()

        killer = threading.Thread(target=kill)
        killer.start()
        sent = at_times([0.0] * count, self._phase.clients, self._one, self._given_up)
        stop.set()
        killer.join()
        for error in (*failed, *sent.failures.values()):
            raise error

    def _one(self, number: int) -> None:
        """One prediction, again and again until it is there."""
        deadline = time.monotonic() + _TRYING_SECONDS
        while time.monotonic() < deadline and not self._given_up.is_set():
            try:
                found = self._model(IDS, progress=False).last_hidden_state
            except SecureInferenceError as error:
                with self._lock:
                    self._ended[type(error).__name__] += 1
                time.sleep(_PAUSE_SECONDS)
                continue
            with self._lock:
                self._answers += 1
                self._wrong += float((found - self._due).abs().max()) > ERROR
            return
        raise TimeoutError(f"prediction {number} was not answered in {_TRYING_SECONDS:.0f} s")

    def _held(self) -> dict[str, Held]:
        """With nothing running: what is held once it does not fall any more."""
        gc.collect()
        least: dict[str, Held] = {}
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            gauges = _gauges(self._admin)
            numbers = {self._phase.lives: self._launcher.process_ids[self._phase.lives], _CLIENTS: os.getpid()}
            now = {name: _of_process(number) for name, number in numbers.items()}
            lives = now[self._phase.lives]
            now[self._phase.lives] = Held(
                lives.memory_bytes,
                lives.threads,
                lives.files,
                int(gauges["secure_sessions_running"]),
                int(gauges["secure_sessions_waiting"]),
            )
            settled = bool(least) and all(
                value >= getattr(least[name], what)
                for name, held in now.items()
                for what, value in asdict(held).items()
            )
            least = now if not least else {name: _lesser(held, least[name]) for name, held in now.items()}
            if settled and not least[self._phase.lives].sessions:
                break
            time.sleep(2.0)
        return least


def _lesser(one: Held, other: Held) -> Held:
    return Held(**{what: min(value, getattr(other, what)) for what, value in asdict(one).items()})


def _fields(number: int) -> dict[str, str]:
    """What the system says of a process."""
    lines = Path(f"/proc/{number}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines)


def _of_process(number: int) -> Held:
    fields = _fields(number)
    return Held(int(fields["VmRSS"].split()[0]) * 1024, int(fields["Threads"]), len(os.listdir(f"/proc/{number}/fd")))


def _gauges(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def _model(folder: Path) -> torch.Tensor:
    """A small model, split for the parties in `split` and for the client in `client`; what is due for `IDS`."""
    reference = small_bert(folder / "checkpoint")
    write_split(read_checkpoint(folder / "checkpoint"), folder / "split")
    (folder / "client").mkdir()
    for file in (folder / "split").iterdir():
        if file.stem not in PARTIES:
            (folder / "client" / file.name).write_bytes(file.read_bytes())
    with torch.inference_mode():
        due: torch.Tensor = reference(input_ids=IDS).last_hidden_state
    return due
