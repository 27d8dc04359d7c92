"""The plans of a record: baselines by name, and those that a search finds for parts of the teacher's seconds."""

from __future__ import annotations

from collections.abc import Mapping

from secure.protocols.core.errors import InputError
from secure.search.front import Front
from secure.search.space import AttentionPlan

BUDGETS = (0.9, 0.8, 0.65, 0.55)
"""Parts of the teacher's predicted seconds on the WAN, by the default protocol."""
SOFTMAX, AFFINE_NORMS = "softmax", "scale-affine"
BASELINES: Mapping[str, tuple[str, str, str]] = {
    SOFTMAX: ("softmax", "gelu", "the teacher's plan, distilled as all others"),
    "2quad": ("square", "gelu", "MPCFormer's attention"),
    "relu": ("relu", "gelu", "ReLU in place of e^s"),
    "scale": ("scale", "gelu", "MPCViT's ScaleAttn in every head"),
    "the-x": ("relu", "relu", "as in THE-X: ReLU in attention and in feed-forward layers"),
    "scale-linear": ("scale", "none", "no softmax and no activation: the limit of MPCViT+"),
    AFFINE_NORMS: ("scale", "none", "no softmax, no activation, and affine norms"),
}
"""A kind for all heads, an activation for all layers, and what that is."""


def baseline(name: str, first: AttentionPlan) -> AttentionPlan:
    """One of `BASELINES` for a model. first: the teacher's plan."""
    kind, activation, _ = BASELINES[name]
    kinds = tuple((kind,) * len(row) for row in first.kinds)
    norms = (("affine", "affine"),) * len(kinds) if name == AFFINE_NORMS else ()
    return AttentionPlan(kinds, (activation,) * len(kinds), norms)


def chosen(front: Front, first: AttentionPlan) -> dict[str, AttentionPlan]:
    """All plans of a record, by name: softmax, those of the budgets, and the other baselines.

    A budget that nothing meets has no plan, nor has one whose plan is a baseline, or another budget's.
    """
    baselines = {name: baseline(name, first) for name in BASELINES}
    found: dict[str, AttentionPlan] = {}
    for budget in BUDGETS:
        try:
            plan = front.within(budget)
        except InputError:
            continue
        if plan not in (*baselines.values(), *found.values()):
            found[f"found-{budget:.2f}"] = plan
    return {SOFTMAX: baselines.pop(SOFTMAX), **found, **baselines}
