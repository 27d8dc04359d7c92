"""Mixtures of values by heads of several kinds, after MPCViT (Zeng et al., ICCV 2023): how scores become weights.

With scores s of T tokens, and sums along a row:

    softmax   e^s / sum e^s
    bounded   2^(m - 6) / (sum 2^(m - 6) + T 2^-12), where m is s log2(e), or 6 if that is less
    relu      ReLU(s) / (sum ReLU(s) + T 2^-7)
    square    (s + 5)^2 / (sum (s + 5)^2 + T 2^-6), the 2Quad of MPCFormer (Li et al., ICLR 2023)
    scale     s / T

The constants that are added are ours: they keep sums away from zero, and are units that the ring holds. A bound that is
public saves the rounds that finding the maximum takes, some for each halving of T; what is above it counts alike.
Queries absorbed what `query_factor` says, and the output matrix `output_factor`. Heads of one kind lie side by side, in
the order of `KINDS`.

*By stages.* A kind's mixture is a chain of stages, each a few branches that do not depend on each other. The stages of
all kinds of a layer share their rounds, so it takes about the rounds of the kind that takes most. Scaled scores are
never made where there are more of them than products of keys and values: (q k^T) v is q (k^T v).

*Padding.* Where some tokens do not count, T is the number of those that do, n, and others have no weight. Softmax and
relu add MASKED to their scores. Square and scale multiply their keys, which are fewer than scores, by zero: the client
shares ones and zeros for it, and, as scale divides by n, ones over n and zeros.

B batch, T tokens, Q of them ask, D width, h heads of one kind, E width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from secure.models.layers.attention import MOST_VALUE, Stages, mixture_by_stages, self_attention, side_by_side
from secure.protocols.core.primitives import as_factor, concatenate, known_below
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.reciprocal_and_root import reciprocal
from secure.protocols.functions.relu import relu
from secure.protocols.functions.softmax import halved
from secure.protocols.masked.gates.exponential import exp2_negative

RELU_LEAST = 2.0**-7
"""What a sum of positive scores has added for each token."""
SQUARE_LEAST = 2.0**-6
"""What a sum of squares has added for each token."""
SQUARE_OFFSET = 5.0
BOUND = 6.0
"""The most that a score counts for, in powers of two: e^4.2. From 15 below it on, powers are zero."""
BOUNDED_LEAST = 2.0**-12
"""What a sum of powers, each of them at most one, has added for each token."""
SQUARE_FACTOR = 1 / 8
"""What is squared is an eighth, so that 512 squares of scores up to 27 add up to less than 2^13."""
UNDIVIDED_TOKENS = 128
_SUM_BITS = 13
_INVERSE_BITS = 22
"""Inverses of sums up to 2^13 are known to 2^-9 of themselves, and to 2^-15 where sums are below 2^7."""


@dataclass(frozen=True)
class Padding:
    """Which tokens count. Shapes: mask [B, 1, 1, T], 0 or MASKED; kept and parts [B, 1, T, 1].

    kept: 1 or 0. parts: what a token's keys are multiplied by for scale: span / n or 0.
    """

    mask: Secret
    kept: Secret
    parts: Secret

    @property
    def count(self) -> Secret:
        """n. Shapes: [B, 1, 1, 1]."""
        return self.kept.sum(2, keepdim=True)


@dataclass(frozen=True)
class ScoreRows:
    """span: the tokens that `query_factor` and `output_factor` were told, which need not be those that there are."""

    span: int
    padding: Padding | None = None

    def least(self, each: float, tokens: int) -> tuple[Callable[[], Secret] | None, float, int]:
        """What sums have added: a branch that computes it, or a number; and the power of two that is below it.

        each: for every token that counts. tokens: T.
        """
        padding = self.padding
        if padding is None:
            return None, each * tokens, math.floor(math.log2(each * tokens))
        return lambda: padding.count * each, 0.0, math.floor(math.log2(each))


Mixture = Callable[[Secret, Secret, Secret, ScoreRows], Stages]
"""The stages for queries, keys and values. Shapes: [B, h, Q, E], [B, h, T, E], [B, h, T, E] -> [B, h, Q, E]."""


def _softmax(q: Secret, k: Secret, v: Secret, rows: ScoreRows) -> Stages:
    padding = rows.padding
    (scores,) = yield [lambda: _scores(q, k, None if padding is None else padding.mask)]
    return (yield from mixture_by_stages(scores, v))


def _bounded(q: Secret, k: Secret, v: Secret, rows: ScoreRows) -> Stages:
    padding, halvings = rows.padding, max(0, math.ceil(math.log2(k.shape[-2] / UNDIVIDED_TOKENS)))
    branch, least, lowest = rows.least(BOUNDED_LEAST * 2.0**-halvings, k.shape[-2])
    scores, *found = yield [lambda: _scores(q, k, None if padding is None else padding.mask), *filter(None, [branch])]
    (below,) = yield [lambda: relu(BOUND - scores)]
    (powers,) = yield [lambda: as_factor(halved(exp2_negative(below), halvings))]
    known = known_below(v, MOST_VALUE, "values of attention, as many as there are tokens", terms=UNDIVIDED_TOKENS)
    return (yield from divided(powers, known, found[0] if found else least, lowest))


def _relu(q: Secret, k: Secret, v: Secret, rows: ScoreRows) -> Stages:
    padding = rows.padding
    branch, least, lowest = rows.least(RELU_LEAST * query_factor("relu", rows.span), k.shape[-2])
    scores, *found = yield [lambda: _scores(q, k, None if padding is None else padding.mask), *filter(None, [branch])]
    (positive,) = yield [lambda: as_factor(relu(scores))]
    return (yield from divided(positive, v, found[0] if found else least, lowest))


def _square(q: Secret, k: Secret, v: Secret, rows: ScoreRows) -> Stages:
    padding, offset = rows.padding, SQUARE_OFFSET * SQUARE_FACTOR
    branch, least, lowest = rows.least(SQUARE_LEAST * SQUARE_FACTOR**2, k.shape[-2])
    if padding is None or branch is None:
        (scores,) = yield [lambda: q @ k.transpose(-1, -2) + offset]
        (squares,) = yield [lambda: as_factor(scores * scores)]
        return (yield from divided(squares, v, least, lowest))
    kept = padding.kept
    counted, offsets, sums = yield [lambda: k * kept, lambda: kept.transpose(-1, -2) * offset, branch]
    (scores,) = yield [lambda: _scores(q, counted, offsets)]
    (squares,) = yield [lambda: as_factor(scores * scores)]
    return (yield from divided(squares, v, sums, lowest))


def _scores(q: Secret, k: Secret, added: Secret | None) -> Secret:
    """Shapes: [B, h, Q, E], [B, h, T, E], [B, 1, 1, T] -> [B, h, Q, T]."""
    scores = q @ k.transpose(-1, -2)
    return scores if added is None else scores + added


def _scale(q: Secret, k: Secret, v: Secret, rows: ScoreRows) -> Stages:
    padding, part = rows.padding, rows.span / k.shape[-2]
    if padding is not None:
        parts, whole = padding.parts, k
        (k,) = yield [lambda: whole * parts]
    elif part != 1:
        unscaled = k
        (k,) = yield [lambda: unscaled * part]
    if q.shape[-2] * k.shape[-2] > q.shape[-1] ** 2:
        (products,) = yield [lambda: k.transpose(-1, -2) @ v]
        (context,) = yield [lambda: q @ products]
    else:
        (scores,) = yield [lambda: q @ k.transpose(-1, -2)]
        (context,) = yield [lambda: scores @ v]
    return context


def divided(weights: Secret, v: Secret, least: float | Secret | Tensor, lowest: int) -> Stages:
    """weights @ v / (sum of weights + least): the division after the product has E elements a row in place of T.

    least: 2^lowest or more.
    """
    mixed, inverse = yield [
        lambda: as_factor(weights @ v, wide=True),
        lambda: reciprocal(
            weights.sum(-1, keepdim=True) + least, lowest=lowest, highest=_SUM_BITS, output_bits=_INVERSE_BITS
        ),
    ]
    (context,) = yield [lambda: multiply(mixed, inverse, fraction_bits=v.fraction_bits)]
    return context


KINDS: Mapping[str, Mixture] = {
    "softmax": _softmax,
    "bounded": _bounded,
    "relu": _relu,
    "square": _square,
    "scale": _scale,
}
"""Every kind, in the order in which heads lie."""


def in_order(kinds: Sequence[str]) -> list[int]:
    """The heads, those of one kind side by side."""
    order = list(KINDS)
    return sorted(range(len(kinds)), key=lambda head: (order.index(kinds[head]), head))


def query_factor(kind: str, tokens: int) -> float:
    """What the queries of a head absorb, beside 1 / sqrt(E)."""
    if kind in ("softmax", "bounded"):
        return math.log2(math.e)
    if kind == "square":
        return SQUARE_FACTOR
    if kind == "scale":
        return 2.0 ** -math.ceil(math.log2(tokens) / 2)
    # Weights do not change by it, and undivided sums stay as small as those of so many tokens.
    return causal_factors(tokens)[1]


def causal_factors(tokens: int) -> tuple[float, float]:
    """What queries and keys of a scaled head absorb where products of keys and values add up by tokens.

    By the keys' one, sums stay as small as those of `UNDIVIDED_TOKENS`. By the queries' one, a product of a score and
    a value may be 256 before what is undivided leaves the range of 2^13.
    """
    return 2.0**-2, 2.0 ** -max(0, math.ceil(math.log2(tokens / UNDIVIDED_TOKENS)))


def output_factor(kind: str, tokens: int) -> float:
    """What rows of the output matrix absorb: the part of 1 / T that queries left, as they would lose digits by it."""
    return 1 / (tokens * query_factor(kind, tokens)) if kind == "scale" else 1.0


def mixed_attention(
    joined: Secret, kinds: Sequence[str], *, queries: int | None = None, rows: ScoreRows | None = None
) -> Secret:
    """What `self_attention` gives, each head by a kind of its own; kinds lie in order.

    rows: by default, all tokens count, and are as many as `query_factor` was told. Shapes: [B, T, 3 D] -> [B, Q, D].
    """
    if set(kinds) == {"softmax"}:
        mask = None if rows is None or rows.padding is None else rows.padding.mask
        return self_attention(joined, len(kinds), mask=mask, queries=queries)
    shared = rows or ScoreRows(joined.shape[1])
    return heads_by_kind(joined, kinds, lambda kind, q, k, v: KINDS[kind](q[:, :, :queries], k, v, shared))


def heads_by_kind(
    joined: Secret, kinds: Sequence[str], chain: Callable[[str, Secret, Secret, Secret], Stages]
) -> Secret:
    """Heads of one kind are mixed by its chain, those of all kinds side by side; kinds lie in order.

    chain: of a kind, from queries, keys and values of its heads, [B, h, T, E] each. Shapes: [B, T, 3 D] -> [B, Q, D].
    """
    batch, tokens, columns = joined.shape
    heads, width = len(kinds), columns // 3
    parts = joined.reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = (parts[:, :, i].transpose(1, 2) for i in range(3))  # [B, H, T, E]
    chains, start = [], 0
    for kind, run in groupby(kinds):
        own = slice(start, start + len(list(run)))
        chains.append(chain(kind, q[:, own], k[:, own], v[:, own]))
        start = own.stop
    first, *others = side_by_side(joined.protocol, chains)
    context = concatenate(first, others, 1) if others else first
    return context.transpose(1, 2).reshape(batch, context.shape[2], width)
