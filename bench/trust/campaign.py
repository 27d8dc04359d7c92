"""Every gate, every role that may deviate, every message, every kind of fault: what came of each, counted.

Roles run in this process, over queues. A unit is one gate at one shape; what it counts is written before the next.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from secure.protocols.core.errors import PartyDeviates, SecureInferenceError
from secure.protocols.core.fixedpoint import decode
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.four_roles import DEALERS, EVALUATORS, run_evaluators
from tests.in_process import RoleFailure
from tests.protocols.uniformity import ENOUGH_BYTES, p_value
from tests.protocols.witnessed.faults import CHANGES, Deviation, Setting, flipped
from tests.protocols.witnessed.lies import LIES, Lie, outcome
from tests.protocols.witnessed.test_faults import ROWS, setting
from tests.protocols.witnessed.test_security import program
from tests.three_parties import combine

HELD_BACK = "held back"
DIGESTS = ("some bit", "another digest")
"""Changes of what goes to the previous evaluator, which are digests alone."""
_SILENCE_SECONDS = 2.0
Counts = dict[str, dict[str, int]]
"""Kind of fault, with who it is -> outcome -> how often."""


@dataclass
class Unit:
    """What came of all faults in one gate."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, kind: str, found: str) -> None:
        self.counts.setdefault(kind, Counter())[found] += 1

    def to_json(self) -> Counts:
        return {kind: dict(sorted(found.items())) for kind, found in sorted(self.counts.items())}


def units() -> dict[str, tuple[Any, ...]]:
    """Name -> what builds the gate, and its shapes."""
    found = {}
    for gate, variant, build, cases in ROWS:
        name = f"{gate.__name__} {variant}".strip()
        found[name] = (build, cases[1 % len(cases)])
    return found


def evaluators(unit: Unit, tried: Setting) -> None:
    """Each evaluator, each of its messages to either other one, each kind of change; and some held back for ever."""
    _, rounds = tried.run()
    for who in range(len(EVALUATORS)):
        for at in range(rounds):
            for kind, change in CHANGES.items():
                unit.add(f"evaluator, {kind}", tried.outcome(Deviation(who, True, at, change)))
            for kind in DIGESTS:
                found = tried.outcome(Deviation(who, False, at, CHANGES[kind]))
                unit.add(f"evaluator, {kind}, to the previous one", found)
        held = Deviation(who, True, rounds // 2, lambda message, before: None)
        unit.add(f"evaluator, {HELD_BACK}", tried.outcome(held, timeout_seconds=_SILENCE_SECONDS))


def dealers(unit: Unit, tried: Setting) -> None:
    """Each of two dealers, each message, each kind of lie, to both holders and to one."""
    _, _, sent = run_evaluators(tried.program, tried.inputs, parts=tried.parts, dealers=2)
    for name, who in zip(("dealer", "second dealer"), DEALERS, strict=True):
        for at in range(len(sent[who]) // 2):
            for kind, change in LIES.items():
                silent = kind in ("left out", "twice")
                for holders in (("p1", "p2"), ("p2",)):
                    seconds = _SILENCE_SECONDS if silent else 60.0
                    unit.add(f"{name}, {kind}", outcome(tried, who, Lie(change, at, holders), seconds))


def count(name: str) -> Counts:
    """All faults of one unit."""
    unit, tried = Unit(), setting(*units()[name])
    evaluators(unit, tried)
    dealers(unit, tried)
    return unit.to_json()


def totals(gates: Mapping[str, Counts]) -> Counts:
    """The sum over all gates."""
    unit = Unit()
    for counts in gates.values():
        for kind, found in counts.items():
            unit.counts.setdefault(kind, Counter()).update(found)
    return unit.to_json()


def twice_squared(x: Secret) -> Secret:
    """Products with rounds of their own, and a truncation."""
    return multiply(x * x * 0.125, x)


def honest(sessions: int) -> Counter[str]:
    """Sessions in which nobody deviates, every other one with two dealers: what came of each."""
    found: Counter[str] = Counter()
    generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))
    for number in range(sessions):
        x = torch.randint(-4 << 16, 4 << 16, (4,), generator=generator)
        try:
            results, _, _ = run_evaluators(program(twice_squared), [x], dealers=1 + number % 2)
            error = decode(combine(results), 16) - decode(x, 16) ** 3 / 8
        except (RoleFailure, SecureInferenceError, AssertionError) as failure:
            errors = failure.errors.values() if isinstance(failure, RoleFailure) else [failure]
            found["alarms" if any(isinstance(each, PartyDeviates) for each in errors) else "lost"] += 1
        else:
            found["right" if float(error.abs().max()) < 1e-2 else "wrong"] += 1
    return found


def heard(sessions: int, elements: int = 4096) -> Iterator[tuple[str, int, float]]:
    """What an evaluator hears after its wrong message, of inputs that are zero: who and when, bytes, and a p-value.

    That is of the hypothesis that these bytes are uniform. Digests are left out.
    """
    zeros = torch.zeros(elements, dtype=torch.int64)

    def role(protocol: Any, shares: Any) -> torch.Tensor:
        shown: torch.Tensor = protocol.reveal(twice_squared(protocol.input(shares[0], (elements,), 16)))
        return shown

    _, rounds = Setting(role, [zeros]).run()
    for who in range(len(EVALUATORS)):
        for at in range(rounds):
            deviations = [Deviation(who, True, at, flipped(3)) for _ in range(sessions)]
            for deviation in deviations:
                Setting(role, [zeros]).outcome(deviation)
            data = b"".join(message[DIGEST_BYTES:] for each in deviations for message in each.heard)
            if len(data) >= ENOUGH_BYTES:
                yield f"p{who}, round {at}", len(data), p_value(data)
