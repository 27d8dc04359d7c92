"""Mixtures of values by softmax, and self-attention of encoders, in which every token sees every other one.

B batch, T tokens, Q of them ask, D width, H heads.
"""

from __future__ import annotations

import math

from secure.protocols.core.primitives import as_factor, known_below
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.policy_functions import exponentials, softmax
from secure.protocols.functions.softmax import inverse_sum

_UNHALVED = 128  # tokens whose values may add up: powers are at most 2^(1/4)
MOST_VALUE = 53.0
"""128 values of this size, times 2^(1/4), add up to less than 2^13, the range of the default policy."""
_MOST_UNDIVIDED = 512  # beyond that many, halving all that often would cost precision


def mixture(scores: Secret, values: Secret) -> Secret:
    """softmax(scores) @ values along the last axis of scores, which absorbed log2(e) already and have their mask.

    Dividing after the product takes fewer elements, but the undivided sum must stay below 2^13: values are below
    MOST_VALUE, or more where a model takes fewer tokens. The owner's run on short inputs tells, for the longest ones.
    Shapes: [..., Q, T], [..., T, D/H] -> [..., Q, D/H].
    """
    tokens = scores.shape[-1]
    if not divides(tokens):
        return softmax(scores, base_two=True) @ values
    times = halvings(tokens)
    powers = exponentials(scores, base_two=True, halvings=times)
    values = known_values(values)
    mixed, inverse = scores.protocol.together(
        lambda: as_factor(powers @ values, wide=True), lambda: inverse_sum(powers, times)
    )
    return multiply(mixed, inverse, fraction_bits=values.fraction_bits)


def divides(tokens: int) -> bool:
    """Whether a mixture of so many is divided after the product."""
    return tokens <= _MOST_UNDIVIDED


def halvings(tokens: int) -> int:
    """How often powers are halved so that the undivided sum stays as small as that of 128 tokens."""
    return max(0, math.ceil(math.log2(tokens / _UNHALVED)))


def known_values(values: Secret) -> Secret:
    """Values of which many may be added up. Shapes: any -> same."""
    return known_below(values, MOST_VALUE, "values of attention, as many as there are tokens", terms=_UNHALVED)


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
