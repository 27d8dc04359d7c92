"""One campaign: parties are killed in the middle of whatever they do, and what they sent is compared afterwards."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import secure
from bench.kills import party
from bench.kills.parties import COMPARED, SERVES, KeptParties
from bench.kills.supervisor import KILLED
from bench.shapes import small_bert
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.roles.filler import request_of
from secure.protocols.core.errors import SecureInferenceError

IDS = torch.tensor([[2, 7, 9, 3]])
ERROR = 5e-3
LEAST, DEALT = 2, 8
"""When so few deals are left, so many are dealt."""
ANSWERING, DEALING = "a random instant of an answer", "a random instant of a deal"
"""Points that are none: the kill comes when it comes."""
_LATEST_SECONDS = {ANSWERING: 0.5, DEALING: 0.3}
"""A random instant is at most so long after the call began: until a bit after it has ended."""


@dataclass
class Outcome:
    """What came of some kills. unpaired: deals that p0 and p1 used in different sessions, by their first messages."""

    kills: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    wrong: int = 0
    lost: int = 0
    most_lost: int = 0
    dealt: int = 0
    sent: int = 0
    used_twice: int = 0
    unpaired: int = 0

    def compare(self, of_p0: Sequence[tuple[str, str]], of_p1: Sequence[tuple[str, str]]) -> None:
        """Count what parties have sent: of each first masked message its deal and its session."""
        self.used_twice = sum(
            count > 1 for record in (of_p0, of_p1) for count in Counter(deal for deal, _ in record).values()
        )
        first = dict(of_p0)
        self.unpaired = sum(deal in first and first[deal] != session for deal, session in of_p1)
        self.sent = len({deal for deal, _ in (*of_p0, *of_p1)})

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "kills": dict(sorted(self.kills.items())), "kills_total": self.kills.total()}


class Campaign:
    """One set of parties. Each call of `kill_once` ends in a state in which all of them serve."""

    def __init__(self, folder: Path, parties: KeptParties, model: secure.PrivateModel, due: Tensor) -> None:
        self._folder = folder
        self._parties = parties
        self._model = model
        self._due = due
        self._request = request_of("1x4", "hidden", masked=False, new_tokens=0)
        self._operators = {role: Operator(parties.settings, role) for role in ("p0", "p1", "dealer")}
        self._counted = Outcome()

    def kill_once(self, role: str, point: str, share: float) -> None:
        """Kill a role at a point, while it serves or takes in a deal, and count what is left.

        share: from 0 to 1, of the time in which a random instant falls.
        """
        self._fill()
        before = self._both()
        killed, serves = (self._parties.times(role, words) for words in (KILLED, SERVES))
        marker = self._folder / f"{role}.kill"
        timer = None
        if point in _LATEST_SECONDS:
            timer = threading.Timer(share * _LATEST_SECONDS[point], self._parties.kill, [role])
            timer.start()
        else:
            marker.write_text(point, encoding="utf-8")
        answered = 0
        with suppress(SecureInferenceError):
            if point == DEALING or any(point.endswith(name) for name in party.FILLING):
                self._deal(1)
            else:
                answered = self._answer()
        if timer is None and marker.exists():
            marker.unlink()
            raise AssertionError(f"{role} did not come to the point {point!r}")
        self._parties.wait_until(role, KILLED, killed + 1)
        self._parties.wait_until(role, SERVES, serves + 1)
        self._counted.kills[f"{role}, {point}"] += 1
        lost = len(before) - answered - len(before & self._both())
        self._counted.lost += lost
        self._counted.most_lost = max(self._counted.most_lost, lost)

    def outcome(self) -> Outcome:
        """What was counted so far, and what the records of both parties say, after one more answer."""
        self._fill()
        self._answer()
        self._counted.compare(sent_by(self._folder, "p0"), sent_by(self._folder, "p1"))
        return self._counted

    def _answer(self) -> int:
        """One prediction, from stock: 1. It is counted, and whether it was right."""
        answer = self._model(input_ids=IDS).last_hidden_state
        assert self._model.report.deal == "stock"
        self._counted.answers += 1
        self._counted.wrong += bool(float((answer - self._due).abs().max()) > ERROR)
        return 1

    def _fill(self) -> None:
        if len(self._both()) < LEAST:
            self._deal(DEALT)

    def _deal(self, count: int) -> None:
        self._operators["dealer"].deal(self._model.manifest.digest, self._request, count)
        self._counted.dealt += count

    def _both(self) -> set[str]:
        """Names that both parties have in stock, from their own word. Where they differ, p0 is about to compare."""
        while True:
            compared = self._parties.times("p0", COMPARED)
            names = [set(self._names(role)) for role in ("p0", "p1")]
            if names[0] == names[1]:
                return names[0]
            self._parties.wait_until("p0", COMPARED, compared + 1)

    def _names(self, role: str) -> list[str]:
        return [row["name"] for row in self._operators[role].stock("names")]


def sent_by(folder: Path, role: str) -> list[tuple[str, str]]:
    """Deals and sessions of a party's first masked messages, each message once."""
    path = folder / f"{role}.sent"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(line["deal"], line["session"]) for line in map(json.loads, lines)]


@contextmanager
def campaign(folder: Path) -> Iterator[Campaign]:
    """Parties in a folder that is empty, a small model that is loaded there, and no dealer to fall back to."""
    reference = small_bert(folder / "checkpoint")
    with torch.inference_mode():
        due = reference(input_ids=IDS).last_hidden_state
    with KeptParties(folder) as kept:
        kept.start()
        with Parties(Client(kept.settings), protocol="beaver") as parties:
            model = secure.PrivateModel.from_pretrained(folder / "checkpoint", parties=parties)
            yield Campaign(folder, kept, model, due)


def plan(kills: int, seed: int) -> list[tuple[str, str, float]]:
    """Which role dies, where, and how late a random instant is, from 0 to 1. Every other kill is at a marked point.

    A longer plan of the same seed begins as a shorter one does.
    """
    moments, planned = random.Random(seed), []
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
            role, point = moments.choice(("p0", "p1")), moments.choice((ANSWERING, ANSWERING, DEALING))
        planned.append((role, point, moments.random()))
    return planned
