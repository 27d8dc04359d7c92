"""Mixtures of values by heads of several kinds where a token sees those before it and itself, as in a decoder.

The kinds are those of `secure.models.layers.mixtures`, with n_t tokens in place of T in the row of token t: those that
it sees and that count. Later tokens, and padding that is public, get MASKED, or a product with zero, which is local.

A scaled head is q_t S_t / n_t with S_t = sum over s <= t of k_s^T v_s, E x E. So it may keep S in place of keys and
values (Katharopoulos et al., Transformers are RNNs, ICML 2020): what one more token takes does not depend on how many
there were. It does where a model takes more than E^2 tokens: with fewer, a token has fewer scores than S has numbers. A
prompt's rows are made from scores.

B batch, T tokens of this step, S tokens so far, h heads of one kind, E width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from secure.models.layers.attention import MOST_VALUE, Stages, mixture_by_stages
from secure.models.layers.mixtures import (
    BOUND,
    BOUNDED_LEAST,
    RELU_LEAST,
    SQUARE_FACTOR,
    SQUARE_LEAST,
    SQUARE_OFFSET,
    UNDIVIDED_TOKENS,
    divided,
    heads_by_kind,
    query_factor,
)
from secure.protocols.core import ring
from secure.protocols.core.primitives import append, as_factor, known_below
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.relu import relu
from secure.protocols.functions.softmax import MASKED, halved
from secure.protocols.masked.gates.exponential import exp2_negative


@dataclass
class Memory:
    """What earlier steps left, by layer and kind: keys and values, [B, h, S, E]; sums of their products, [B, h, E, E].

    offsets: what squared scores have added, [B, 1, 1, S], where it is secret which tokens count.
    """

    keys: dict[str, Secret] = field(default_factory=dict)
    values: dict[str, Secret] = field(default_factory=dict)
    sums: dict[str, Secret] = field(default_factory=dict)
    offsets: dict[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class CausalRows:
    """What the tokens of a step see.

    span: the most tokens, as `query_factor` was told. counts: n_t, [B or 1, 1, T, 1]. hidden: public, where a key is
    later or padding, [B or 1, 1, T, S]; None where none is. mask: 0 or MASKED for all keys so far, [B, 1, 1, S], where
    it is secret which of them count, and kept: 1 or 0 for those of a prompt then, [B, 1, T, 1]. new: tokens of this
    step. parts: 1 / n_t over both `causal_factors`, [B, 1, T, 1], where heads are scaled. goes_on: whether more steps
    may follow.
    """

    span: int
    counts: Secret | Tensor
    new: int
    hidden: Tensor | None = None
    mask: Secret | None = None
    kept: Secret | None = None
    parts: Secret | None = None
    goes_on: bool = True

    def masked(self, scores: Secret) -> Secret:
        """Scores with MASKED where they do not count."""
        if self.hidden is not None:
            scores = scores + self.hidden.to(torch.float64) * MASKED
        return scores if self.mask is None else scores + self.mask

    def seen(self, scores: Secret) -> Secret:
        """Scores, or squares of them, with zeros where a key is hidden."""
        return scores if self.hidden is None else times(scores, ~self.hidden)

    def counted(self, keys: Secret) -> Secret:
        """Keys of this step with zeros in place of padding that is public."""
        if self.hidden is None:
            return keys
        # The last token sees all others that count.
        return times(keys, ~self.hidden[..., -1:, -self.new :].transpose(-1, -2))

    def least(self, each: float) -> Callable[[], Secret] | None:
        """A branch that computes what sums have added; None where that is public. each: for every token that counts."""
        counts = self.counts
        return None if isinstance(counts, Tensor) else lambda: counts * each


def times(x: Secret, kept: Tensor) -> Secret:
    """x where kept, and zero elsewhere: local. Shapes: any, bool that broadcasts to it -> as x."""
    return x.map(lambda t: ring.multiply(t, kept.to(t.device, t.dtype)))


Mixture = Callable[[str, Secret, Secret, Secret, CausalRows, Memory], Stages]
"""The stages for queries, keys and values of a step. Shapes: [B, h, T, E] three times -> the same."""


def _softmax(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    k, v = yield _remembered(name, k, v, memory)
    (scores,) = yield [lambda: rows.masked(q @ k.transpose(-1, -2))]
    return (yield from mixture_by_stages(scores, v))


def _bounded(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    k, v = yield _remembered(name, k, v, memory)
    halvings = max(0, math.ceil(math.log2(k.shape[-2] / UNDIVIDED_TOKENS)))
    each = BOUNDED_LEAST * 2.0**-halvings
    scores, *least = yield [lambda: rows.masked(q @ k.transpose(-1, -2)), *filter(None, [rows.least(each)])]
    (below,) = yield [lambda: relu(BOUND - scores)]
    (powers,) = yield [lambda: as_factor(halved(exp2_negative(below), halvings))]
    known = known_below(v, MOST_VALUE, "values of attention, as many as there are tokens", terms=UNDIVIDED_TOKENS)
    return (yield from _divided(powers, known, rows, least, each))


def _relu(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    k, v = yield _remembered(name, k, v, memory)
    each = RELU_LEAST * query_factor("relu", rows.span)
    scores, *least = yield [lambda: rows.masked(q @ k.transpose(-1, -2)), *filter(None, [rows.least(each)])]
    (positive,) = yield [lambda: as_factor(relu(scores))]
    return (yield from _divided(positive, v, rows, least, each))


def _square(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    offset, kept, keys = SQUARE_OFFSET * SQUARE_FACTOR, rows.kept, k
    if kept is not None:
        keys, memory.offsets[name] = yield [lambda: k * kept, lambda: kept.transpose(-1, -2) * offset]
    elif name in memory.offsets:
        memory.offsets[name] = _longer(memory.offsets[name], rows.new, offset)
    all_keys, v = yield _remembered(name, keys, v, memory)
    each, added = SQUARE_LEAST * SQUARE_FACTOR**2, memory.offsets.get(name)
    scores, *least = yield [lambda: q @ all_keys.transpose(-1, -2), *filter(None, [rows.least(each)])]
    scores = scores + (offset if added is None else added)
    (squares,) = yield [lambda: as_factor(rows.seen(scores * scores))]
    return (yield from _divided(squares, v, rows, least, each))


def _scale(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    k, kept = rows.counted(k), rows.kept
    if kept is not None:
        whole = k
        (k,) = yield [lambda: whole * kept]
    if rows.span <= k.shape[-1] ** 2:
        k, v = yield _remembered(name, k, v, memory)
        (scores,) = yield [lambda: q @ k.transpose(-1, -2)]
        (context,) = yield [lambda: rows.seen(scores) @ v]
    else:
        context = yield from _summed(name, q, k, v, rows, memory)
    parts = rows.parts
    assert parts is not None
    (context,) = yield [lambda: multiply(context, parts, fraction_bits=v.fraction_bits)]
    return context


def _summed(name: str, q: Secret, k: Secret, v: Secret, rows: CausalRows, memory: Memory) -> Stages:
    """q_t S_t, where S is kept."""
    before = memory.sums.get(name)
    one = before is not None or rows.new == 1
    products = [] if one else [lambda: q @ k.transpose(-1, -2)]
    if one or rows.goes_on:
        products.append(lambda: k.transpose(-1, -2) @ v)
    found = list((yield products))
    if one or rows.goes_on:
        added = found.pop()
        memory.sums[name] = added if before is None else before + added
    (context,) = yield [lambda: rows.seen(found[0]) @ v if found else q @ memory.sums[name]]
    return context


def _remembered(name: str, k: Secret, v: Secret, memory: Memory) -> list[Callable[[], Secret]]:
    """Branches that put keys and values behind earlier ones."""

    def behind(kept: dict[str, Secret], rows: Secret) -> Secret:
        kept[name] = append(rows, kept.get(name), 2)
        return kept[name]

    return [lambda: behind(memory.keys, k), lambda: behind(memory.values, v)]


def _longer(offsets: Secret, count: int, offset: float) -> Secret:
    """With those of tokens that count. Shapes: [B, 1, 1, S] -> [B, 1, 1, S + count]."""
    added = torch.zeros(offsets.shape[-1] + count, dtype=torch.float64)
    added[-count:] = offset
    return offsets.map(lambda t: torch.nn.functional.pad(t, (0, count))) + added


def _divided(weights: Secret, v: Secret, rows: CausalRows, least: Sequence[Secret], each: float) -> Stages:
    """least: what `CausalRows.least` has computed, if it is secret."""
    added = least[0] if least else rows.counts * each
    return (yield from divided(weights, v, added, math.floor(math.log2(each))))


KINDS: Mapping[str, Mixture] = {
    "softmax": _softmax,
    "bounded": _bounded,
    "relu": _relu,
    "square": _square,
    "scale": _scale,
}
"""Every kind, in the order in which heads lie."""


def mixed_causal_attention(name: str, joined: Secret, kinds: Sequence[str], rows: CausalRows, memory: Memory) -> Secret:
    """Each head by a kind of its own; kinds lie in order. Shapes: [B, T, 3 D] -> [B, T, D]."""
    return heads_by_kind(joined, kinds, lambda kind, q, k, v: KINDS[kind](f"{name}.{kind}", q, k, v, rows, memory))
