"""The campaign of kills: what it plans and adds up, and twenty kills of real parties."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kills.campaign import ANSWERING, DEALING, Outcome, plan
from bench.kills.command import added, run
from bench.kills.party import POINTS


def test_every_marked_point_comes_in_turn_with_random_instants() -> None:
    points = sum(2 * len(names) for names in POINTS.values())
    planned = plan(4 * points, seed=1)
    marked = [(role, point) for role, point, _ in planned if point not in (ANSWERING, DEALING)]
    assert len(marked) == 2 * points
    assert len(set(marked)) == points
    at_random = {(role, point) for role, point, _ in planned if point in (ANSWERING, DEALING)}
    assert at_random == {(role, point) for role in ("p0", "p1") for point in (ANSWERING, DEALING)}


def test_a_plan_is_taken_up_where_it_was() -> None:
    assert plan(50, seed=1)[:20] == plan(20, seed=1)


def test_campaigns_add_up() -> None:
    first, second = Outcome(answers=3, most_lost=1, lost=2), Outcome(answers=1, lost=1)
    first.kills["p0, here"] = 2
    second.kills["p0, here"] = 1
    total = added(first.to_json(), second.to_json())
    assert (total["kills"], total["kills_total"]) == ({"p0, here": 3}, 3)
    assert (total["answers"], total["lost"], total["most_lost"]) == (4, 3, 1)


def test_a_second_use_is_found_in_what_was_sent() -> None:
    found = Outcome()
    found.compare([("a", "1"), ("b", "2")], [("a", "1"), ("c", "3")])
    assert (found.sent, found.used_twice, found.unpaired) == (3, 0, 0)
    found.compare([("a", "1"), ("b", "2")], [("a", "1"), ("a", "3"), ("b", "4")])
    assert (found.sent, found.used_twice, found.unpaired) == (2, 1, 2)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_no_deal_is_used_twice_after_twenty_kills(tmp_path: Path) -> None:
    (found,) = run(tmp_path, plan(20, seed=2))
    assert found.kills.total() == 20
    assert (found.used_twice, found.unpaired, found.wrong) == (0, 0, 0)
    assert found.answers > 0 and found.sent > 0
    assert found.most_lost <= 1
