"""Plans, and the steps between them."""

from __future__ import annotations

import random

from secure.search.space import AttentionPlan, by_layers, mutated, random_plan

FIRST = AttentionPlan((("softmax",) * 4,) * 3, ("gelu",) * 3)
MIXED = AttentionPlan(
    (("scale", "relu", "softmax", "relu"), ("softmax",) * 4, ("scale",) * 4),
    ("none", "gelu", "gelu"),
    (("affine", "affine"), ("layer", "layer"), ("layer", "affine")),
)


def test_a_plan_survives_the_fields_of_a_checkpoint() -> None:
    assert AttentionPlan.from_fields(MIXED.fields) == MIXED
    assert MIXED.fields["model_type"] == "mpc_vit" and MIXED.fields["activations"] == ["none", "gelu", "gelu"]


def test_a_plan_is_a_word_for_each_layer() -> None:
    assert str(MIXED) == "softmax+2relu+scale-/a softmax scale/a2"


def test_fields_of_before_there_were_norms_have_layer_norms() -> None:
    fields = FIRST.fields
    del fields["norms"]
    assert AttentionPlan.from_fields(fields) == FIRST


def test_what_a_layer_costs_depends_on_the_kinds_and_not_on_their_order() -> None:
    swapped = MIXED.with_layer(0, ("relu", "scale", "relu", "softmax"), "none")
    assert swapped != MIXED and swapped.layer(0) == MIXED.layer(0) != MIXED.layer(2)


def test_steps_change_one_layer_each() -> None:
    found = list(by_layers(MIXED, FIRST))
    assert len(found) == len(set(found)) == (4 + 1 + 2) + 2 * (3 + 1 + 2)
    for plan in found:
        assert sum(plan.layer(i) != MIXED.layer(i) for i in range(3)) == 1
    assert {plan.activations[0] for plan in found} == {"gelu", "none"}
    affine = AttentionPlan(FIRST.kinds, FIRST.activations, (("affine", "affine"),) * 3)
    assert {plan.norms for plan in by_layers(affine, affine)} == {affine.norms}, "there is no layer norm to go back to"


def test_random_plans_have_layers_of_one_kind_mostly() -> None:
    draw = random.Random(3)
    rows = [row for _ in range(300) for row in random_plan(FIRST, draw).kinds]
    one = sum(len(set(row)) == 1 for row in rows) / len(rows)
    assert 0.65 < one < 0.8  # 0.7, and mixtures that happen to be of one kind
    assert {kind for row in rows for kind in row} == {"softmax", "relu", "square", "scale"}


def test_a_mutation_is_a_step_and_every_plan_is_within_reach() -> None:
    draw, plan, seen = random.Random(5), FIRST, set()
    for _ in range(2000):
        child = mutated(plan, FIRST, draw)
        assert sum(child.layer(i) != plan.layer(i) for i in range(3)) <= 1
        plan = child
        seen.update(enumerate(zip(plan.kinds, plan.activations, strict=True)))
    assert {(i, ("relu",) * 4, "none") for i in range(3)} <= {(i, *found) for i, found in seen}
