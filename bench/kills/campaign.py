"""Real parties with a stock whose keys this process holds; they are killed in the middle of whatever they do."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

import secure
from bench.kills import party
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.config import PARTIES, settings_toml
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.roles.filler import request_of
from secure.parties.stock.key import sealed_memory
from secure.parties.transport.tls import make_certificates
from secure.protocols.core.errors import SecureInferenceError
from tests.secure.processes import with_key

IDS = torch.tensor([[2, 7, 9, 3]])
ERROR = 5e-3
LEAST, DEALT = 2, 4
"""When so few deals are left, so many are dealt."""
RANDOM = "a random instant"


@dataclass
class Outcome:
    """What came of some kills. pairs: of deal and session, as each party's first masked message had them."""

    kills: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    wrong: int = 0
    lost: int = 0
    most_lost: int = 0
    dealt: int = 0
    used_twice: int = 0
    unpaired: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "kills": dict(sorted(self.kills.items())), "kills_total": self.kills.total()}


class Campaign:
    """One set of parties. Each call of `kill_once` ends in a state in which all of them serve."""

    def __init__(self, folder: Path, launcher: Launcher, model: secure.PrivateModel, due: Tensor) -> None:
        self.outcome = Outcome()
        self._folder = folder
        self._launcher = launcher
        self._model = model
        self._due = due
        self._request = request_of("1x4", "hidden", masked=False, new_tokens=0)

    def kill_once(self, role: str, point: str, seconds: float) -> None:
        """Kill a role at a point, or after some seconds, while it serves or takes in a deal; count what is left."""
        self._fill()
        before = self._both()
        marker = self._folder / f"{role}.kill"
        filling = point != RANDOM and any(point.endswith(name) for name in party.FILLING)
        marker.write_text(point, encoding="utf-8")
        if point == RANDOM:
            process = self._launcher._processes[role]
            threading.Timer(seconds, process.kill).start()
        answered, dealt = 0, 0
        with suppress(SecureInferenceError):
            if filling:
                self._deal(1)
                dealt = 1
            else:
                answered = self._answer()
        process = self._launcher._processes[role]
        if point != RANDOM and process.poll() is None and marker.exists():
            marker.unlink()
            raise AssertionError(f"{role} did not come to the point {point!r}")
        process.wait(60)
        marker.unlink(missing_ok=True)
        self._launcher.restart(role)
        self.outcome.kills[f"{role}, {point}"] += 1
        lost = len(before) - answered - len(before & self._both())
        self.outcome.lost += lost
        self.outcome.most_lost = max(self.outcome.most_lost, lost)
        self.outcome.dealt += dealt

    def finish(self) -> None:
        """A last answer, and what the records say."""
        self._fill()
        self._answer()
        pairs = [self._sent(role) for role in ("p0", "p1")]
        for found in pairs:
            for deal in {deal for deal, _ in found}:
                self.outcome.used_twice += len({session for name, session in found if name == deal}) > 1
        sessions = dict(pairs[0])
        self.outcome.unpaired = sum(deal in sessions and sessions[deal] != session for deal, session in pairs[1])

    def _answer(self) -> int:
        """One prediction, from stock: 1. It is counted, and whether it was right."""
        answer = self._model(input_ids=IDS).last_hidden_state
        assert self._model.report.deal == "stock"
        self.outcome.answers += 1
        self.outcome.wrong += bool(float((answer - self._due).abs().max()) > ERROR)
        return 1

    def _fill(self) -> None:
        if len(self._both()) < LEAST:
            self._deal(DEALT)
            self.outcome.dealt += DEALT

    def _deal(self, count: int) -> None:
        Operator(self._launcher.settings, "dealer").deal(self._model.manifest.digest, self._request, count)

    def _both(self) -> set[str]:
        """Names that both parties have in stock, from their own word, once they have compared."""
        while True:
            names = [set(self._names(role)) for role in ("p0", "p1")]
            if names[0] == names[1]:
                return names[0]
            threading.Event().wait(0.2)

    def _names(self, role: str) -> list[str]:
        return [row["name"] for row in Operator(self._launcher.settings, role).stock("names")]

    def _sent(self, role: str) -> list[tuple[str, str]]:
        path = self._folder / f"{role}.sent"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [(line["deal"], line["session"]) for line in map(json.loads, lines)]


@contextmanager
def campaign(folder: Path) -> Iterator[Campaign]:
    """Parties in a folder that is empty, a small model that is loaded there, and no dealer to fall back to."""
    torch.manual_seed(3)
    sizes = BertConfig(
        vocab_size=30,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=37,
        max_position_embeddings=20,
    )
    reference = BertModel(sizes).eval()
    reference.save_pretrained(folder / "checkpoint")
    with torch.inference_mode():
        due = reference(input_ids=IDS).last_hidden_state
    make_certificates(folder / "certificates")
    config = folder / "parties.toml"
    text = settings_toml(free_addresses(), folder / "certificates")
    stock = f"[stock]\ndir = '{folder / 'stock'}'\nkey = 'systemd'\nfallback = false\n"
    config.write_text(f"{text}\n[limits]\nrendezvous_seconds = 30.0\n{stock}", encoding="utf-8")
    keys = {role: sealed_memory(os.urandom(32)) for role in PARTIES}
    program = str(Path(with_key.__file__).resolve())
    prefixes = {role: (sys.executable, program, f"/proc/{os.getpid()}/fd/{key}") for role, key in keys.items()}
    launcher = Launcher(config, module="bench.kills.party", prefixes=prefixes, stop_when_one_ends=False)
    try:
        launcher.start()
        with Parties(Client(launcher.settings), protocol="beaver") as parties:
            model = secure.PrivateModel.from_pretrained(folder / "checkpoint", parties=parties)
            yield Campaign(folder, launcher, model, due)
    finally:
        launcher.stop()
        for key in keys.values():
            os.close(key)


def plan(kills: int, seed: int) -> list[tuple[str, str, float]]:
    """Which role dies, where, and for a random instant after how many seconds. Half of them at marked points."""
    moments, points = random.Random(seed), []
    marked = [
        (role, f"{when} {point}")
        for role in party.POINTS
        for point in party.POINTS[role]
        for when in ("before", "after")
    ]
    moments.shuffle(marked)
    for number in range(kills):
        if number % 2:
            role, point = marked[number // 2 % len(marked)]
        else:
            role, point = moments.choice(("p0", "p1")), RANDOM
        points.append((role, point, moments.uniform(0.0, 0.6)))
    return points
