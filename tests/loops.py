"""Cases of a test that compares compiled loops with plain torch, for both kinds of loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

from tests.sampling import sampled

LOOPS = ("CPU", "card")


def with_both_loops(
    *, card: Callable[..., bool] = lambda **values: True, **axes: Sequence[Any]
) -> pytest.MarkDecorator:
    """`parametrize` over the fixture `loops` and all combinations of the axes.

    The CPU's loops get every combination in the default run, the card's, which are interpreted and take long, a sample.

    Args:
        card: whether the card's loops get a combination at all; some would take them minutes.
    """
    cases = [
        pytest.param(loops, *values, id="-".join(map(str, (loops, *values))))
        for loops in LOOPS
        for values in itertools.product(*axes.values())
        if loops == "CPU" or card(**dict(zip(axes, values, strict=True)))
    ]
    return pytest.mark.parametrize(("loops", *axes), sampled(cases, _aspects), indirect=["loops"])


def _aspects(loops: str, *values: object) -> Iterable[Hashable]:
    texts = tuple(map(str, values))
    return [(loops, texts)] if loops == "CPU" else [(loops, *pair) for pair in enumerate(texts)]
