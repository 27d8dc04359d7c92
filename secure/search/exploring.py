"""From the teacher's plan down to cheap ones: a greedy path by whole layers, and an evolution from what it passed."""

from __future__ import annotations

import random
from collections.abc import Callable

from secure.search.front import unbeaten
from secure.search.space import AttentionPlan, by_layers, mutated

Measure = Callable[[AttentionPlan], float]
_SMALLEST_SAVING = 1e-4
"""The part of the first plan's seconds that a step must save: less is no reason to change a network."""
_GAIN = 0.05
"""Nats by which a change may seem to better the answers: it is chance, and no reason to prefer a change to others."""


def explore(
    first: AttentionPlan, seconds: Measure, divergence: Measure, *, children: int, seed: int
) -> list[AttentionPlan]:
    """Plans that none of those that were tried beats, dearest first.

    seconds, divergence: of a plan; both are asked for again and again. children: plans that the evolution tries.
    """
    tried = {plan: (seconds(plan), divergence(plan)) for plan in _path(first, seconds, divergence)}
    draw = random.Random(f"evolution {seed}")
    for _ in range(children):
        front = unbeaten((*figures, plan) for plan, figures in tried.items())
        child = mutated(draw.choice(front), first, draw)
        if child not in tried:
            tried[child] = seconds(child), divergence(child)
    return unbeaten((*figures, plan) for plan, figures in tried.items())


def _path(first: AttentionPlan, seconds: Measure, divergence: Measure) -> list[AttentionPlan]:
    """Step by step the change of one layer that costs least divergence for the seconds that it saves."""
    path, least = [first], _SMALLEST_SAVING * seconds(first)
    while True:
        last = path[-1]
        here, loss = seconds(last), divergence(last)
        steps = [(here - seconds(plan), plan) for plan in by_layers(last, first)]
        saving = [(saved, plan) for saved, plan in steps if saved > least]
        if not saving:
            return path
        price = [((max(divergence(plan) - loss, -_GAIN) + _GAIN) / saved, str(plan), plan) for saved, plan in saving]
        path.append(min(price, key=lambda entry: entry[:2])[2])
