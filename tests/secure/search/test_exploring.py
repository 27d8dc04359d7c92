"""The path and the evolution, on measures whose answer is known."""

from __future__ import annotations

from secure.search.exploring import explore
from secure.search.front import unbeaten
from secure.search.space import AttentionPlan

FIRST = AttentionPlan((("softmax",) * 2,) * 3, ("gelu",) * 3)
SECONDS = {"softmax": 4.0, "bounded": 3.5, "relu": 3.0, "square": 2.0, "scale": 1.0}
WORSE = {"softmax": 0.0, "bounded": 0.4, "relu": 0.3, "square": 0.1, "scale": 0.5}


def seconds(plan: AttentionPlan) -> float:
    return sum(SECONDS[kind] for row in plan.kinds for kind in row) + sum(name == "gelu" for name in plan.activations)


def divergence(plan: AttentionPlan) -> float:
    """The first layer suffers most, and a head of the last one hardly."""
    heads = sum((3 - i) * WORSE[kind] for i, row in enumerate(plan.kinds) for kind in row)
    return heads + sum(2.0 for name in plan.activations if name == "none")


def test_the_front_goes_from_the_first_plan_to_the_cheapest() -> None:
    found = explore(FIRST, seconds, divergence, children=100, seed=1)
    assert found[0] == FIRST
    assert [seconds(plan) for plan in found] == sorted(map(seconds, found), reverse=True)
    assert [divergence(plan) for plan in found] == sorted(map(divergence, found))
    assert found[-1] == AttentionPlan((("scale",) * 2,) * 3, ("none",) * 3)
    assert all("relu" not in row for plan in found for row in plan.kinds), "square is cheaper and closer"


def test_the_evolution_finds_what_whole_layers_do_not_have() -> None:
    alone = explore(FIRST, seconds, divergence, children=0, seed=1)
    more = explore(FIRST, seconds, divergence, children=300, seed=1)
    assert all(len(set(row)) == 1 for plan in alone for row in plan.kinds)
    assert any(len(set(row)) > 1 for plan in more for row in plan.kinds)
    for plan in alone:
        assert any(seconds(each) <= seconds(plan) and divergence(each) <= divergence(plan) for each in more)


def test_the_same_seed_finds_the_same() -> None:
    runs = [explore(FIRST, seconds, divergence, children=80, seed=seed) for seed in (2, 2, 3)]
    assert runs[0] == runs[1] != runs[2]


def test_what_is_beaten_or_ties_is_left_out() -> None:
    other = FIRST.with_layer(0, ("scale", "scale"), "gelu")
    third = FIRST.with_layer(1, ("scale", "scale"), "gelu")
    assert unbeaten([(2.0, 0.0, FIRST), (1.0, 0.5, other), (1.5, 0.5, third)]) == [FIRST, other]
