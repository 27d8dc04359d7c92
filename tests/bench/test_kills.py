"""The campaign of kills: what it plans and adds up, and twenty kills of real parties."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kills.campaign import RANDOM, Outcome, plan
from bench.kills.command import added, run
from bench.kills.party import POINTS


def test_every_marked_point_comes_in_turn_with_random_instants() -> None:
    points = sum(2 * len(names) for names in POINTS.values())
    planned = plan(4 * points, seed=1)
    marked = [(role, point) for role, point, _ in planned if point != RANDOM]
    assert len(marked) == 2 * points
    assert len(set(marked)) == points
    assert {role for role, point, _ in planned if point == RANDOM} == {"p0", "p1"}


def test_campaigns_add_up() -> None:
    first, second = Outcome(answers=3, most_lost=1, lost=2), Outcome(answers=1, lost=1)
    first.kills["p0, here"] = 2
    second.kills["p0, here"] = 1
    total = added(first.to_json(), second.to_json())
    assert (total["kills"], total["kills_total"]) == ({"p0, here": 3}, 3)
    assert (total["answers"], total["lost"], total["most_lost"]) == (4, 3, 1)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(3600)
def test_no_deal_is_used_twice_after_twenty_kills(tmp_path: Path) -> None:
    found = run(tmp_path, 20, seed=2)
    assert found.kills.total() == 20
    assert (found.used_twice, found.unpaired, found.wrong) == (0, 0, 0)
    assert found.answers > 0
    assert found.most_lost <= 1
