"""Plans that nothing beats: what each costs, and how far its answers are from the teacher's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from secure.protocols.core.errors import CheckpointError, InputError
from secure.search.space import AttentionPlan

SCHEMA = 1
FRONT_NAME = "pareto.json"


@dataclass(frozen=True)
class Candidate:
    """A plan with what is known of it.

    seconds: predicted for one session; relative_seconds: over the teacher's. divergence: of the one network's answers
    with this plan from the teacher's, on held-out inputs, in nats; accuracy: of those answers, as a share. Both are
    before any training of the plan itself, and say which plan is better rather than how good it will be.
    """

    plan: AttentionPlan
    seconds: float
    relative_seconds: float
    rounds: int
    online_bytes: int
    dealer_bytes: int
    divergence: float
    accuracy: float


@dataclass(frozen=True)
class Front:
    """Candidates from the dearest to the cheapest, none of which another one beats in seconds and in divergence.

    setting: what they were searched for: network, protocol, weights, seed and so on.
    """

    candidates: Sequence[Candidate]
    setting: Mapping[str, Any]

    def within(self, budget: float) -> AttentionPlan:
        """The plan with the least divergence that takes at most so much of the teacher's seconds.

        Raises InputError where none is so cheap, with the cheapest one's share.
        """
        cheap = [each for each in self.candidates if each.relative_seconds <= budget]
        if not cheap:
            least = min(each.relative_seconds for each in self.candidates)
            raise InputError(f"no plan takes {budget:g} of the teacher's seconds; the cheapest takes {least:.2f}")
        return min(cheap, key=lambda each: (each.divergence, each.seconds)).plan

    def write(self, folder: Path) -> Path:
        """Write pareto.json."""
        rows = []
        for each in self.candidates:
            row = asdict(each)
            del row["plan"]
            fields = each.plan.fields
            del fields["model_type"]
            rows.append(row | fields)
        path = folder / FRONT_NAME
        written = path.with_suffix(".writing")
        content = {"schema": SCHEMA, "setting": dict(self.setting), "plans": rows}
        written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(written, path)
        return path

    @classmethod
    def read(cls, path: Path) -> Front:
        """Inverse of `write`. Raises CheckpointError for a file that is not such."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise CheckpointError(f"{path} has schema {content['schema']!r}, this version reads {SCHEMA}")
            found = []
            for row in content["plans"]:
                figures = {name: row[name] for name in _FIGURES}
                found.append(Candidate(AttentionPlan.from_fields(row), **figures))
            return cls(found, content["setting"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} cannot be read as plans: {type(error).__name__}; secure search writes it"
            ) from None


_FIGURES = tuple(name for name in Candidate.__dataclass_fields__ if name != "plan")


def unbeaten(points: Iterable[tuple[float, float, AttentionPlan]]) -> list[AttentionPlan]:
    """The plans of (seconds, divergence, plan) of which no other is as cheap and closer, dearest first."""
    found: list[AttentionPlan] = []
    closest = float("inf")
    for _, divergence, plan in sorted(points, key=lambda point: (point[0], point[1], str(point[2]))):
        if divergence < closest:
            found.append(plan)
            closest = divergence
    return found[::-1]
