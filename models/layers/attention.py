"""Mixtures of values by softmax, and self-attention of encoders, in which every token sees every other one.

B batch, T tokens, Q of them ask, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence

from secure.protocols.core.primitives import as_factor, known_below
from secure.protocols.core.secret import Protocol, Secret, multiply
from secure.protocols.functions.policy_functions import exponentials, softmax
from secure.protocols.functions.softmax import inverse_sum

_UNHALVED = 128  # tokens whose values may add up: powers are at most 2^(1/4)
MOST_VALUE = 53.0
"""128 values of this size, times 2^(1/4), add up to less than 2^13, the range of the default policy."""
_MOST_UNDIVIDED = 512  # beyond that many, halving all that often would cost precision


Stages = Generator[Sequence[Callable[[], Secret]], Sequence[Secret], Secret]
"""Yields the branches of each stage, is sent their results, and returns what comes of them."""


def mixture(scores: Secret, values: Secret) -> Secret:
    """softmax(scores) @ values along the last axis of scores, which absorbed log2(e) already and have their mask.

    Dividing after the product takes fewer elements, but the undivided sum must stay below 2^13: values are below
    MOST_VALUE, or more where a model takes fewer tokens. The owner's run on short inputs tells, for the longest ones.
    Shapes: [..., Q, T], [..., T, D/H] -> [..., Q, D/H].
    """
    (mixed,) = side_by_side(scores.protocol, [mixture_by_stages(scores, values)])
    return mixed


def mixture_by_stages(scores: Secret, values: Secret) -> Stages:
    """The stages of `mixture`."""
    tokens = scores.shape[-1]
    if tokens > _MOST_UNDIVIDED:
        (weights,) = yield [lambda: softmax(scores, base_two=True)]
        (context,) = yield [lambda: weights @ values]
        return context
    # Powers are halved so that the undivided sum stays as small as that of 128 tokens.
    halvings = max(0, math.ceil(math.log2(tokens / _UNHALVED)))
    (powers,) = yield [lambda: exponentials(scores, base_two=True, halvings=halvings)]
    known = known_below(values, MOST_VALUE, "values of attention, as many as there are tokens", terms=_UNHALVED)
    mixed, inverse = yield [lambda: as_factor(powers @ known, wide=True), lambda: inverse_sum(powers, halvings)]
    (context,) = yield [lambda: multiply(mixed, inverse, fraction_bits=values.fraction_bits)]
    return context


def side_by_side(protocol: Protocol, chains: Sequence[Stages]) -> list[Secret]:
    """The results of chains of stages that do not depend on each other: their stages share their rounds."""
    found: dict[Stages, Secret] = {}
    due = {chain: next(chain) for chain in chains}
    while due:
        branches = [branch for stage in due.values() for branch in stage]
        results = iter(protocol.together(*branches) if len(branches) > 1 else [branches[0]()])
        said, due = due, {}
        for chain, stage in said.items():
            try:
                due[chain] = chain.send([next(results) for _ in stage])
            except StopIteration as end:
                found[chain] = end.value
    return [found[chain] for chain in chains]


def self_attention(joined: Secret, heads: int, *, mask: Secret | None = None, queries: int | None = None) -> Secret:
    """Each token's mixture of values, before the output matrix; queries absorbed log2(e) / sqrt(D/H) already.

    joined: queries, keys and values side by side. queries: how many tokens ask, from the first one on; all by default.
    Shapes: [B, T, 3 D], additive mask [B, 1, 1, T] -> [B, Q, D].
    """
    batch, tokens, columns = joined.shape
    width = columns // 3
    parts = joined.reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = (parts[:, :, i].transpose(1, 2) for i in range(3))  # [B, H, T, D/H]
    scores = q[:, :, :queries] @ k.transpose(-1, -2)  # [B, H, Q, T]
    if mask is not None:
        scores = scores + mask
    return mixture(scores, v).transpose(1, 2).reshape(batch, queries or tokens, width)
