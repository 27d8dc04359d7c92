"""What this family computes in a way of its own, and its table of operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch

from secure.protocols.core import primitives, ring, secret
from secure.protocols.core.secret import Secret, row, table
from secure.protocols.masked.gates.product import Bilinear, OpenedProduct
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.programs import products
from secure.protocols.masked.protocol import truncation_shift
from secure.protocols.masked.table import ROWS
from secure.protocols.replicated.forms import PRODUCT_BITS, Replicated, floor, scaled_shares, shares_in
from secure.protocols.replicated.gates.resharing import Truncate
from secure.protocols.replicated.one_hot import checked_one_hot
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.shares import Shares, additive, pair_of

_BROADCAST = 4  # times: a secret that is so much smaller than another one is cheap beside it


def add(replicated: Replicated, x: Secret, y: Secret) -> Secret:
    """The sum is in the smaller of the two rings."""
    scale = max(x.fraction_bits, y.fraction_bits)
    small, large = sorted((x, y), key=lambda s: math.prod(s.shape))
    addend = scaled_shares(replicated, large, scale)
    # What is broadcast to a much larger secret is cheap to lift, and the sum then stays in the larger one's ring.
    worthwhile = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
    other = scaled_shares(replicated, small, scale, addend.bits if worthwhile else 0)
    return ReplicatedSecret(replicated, scale, other.plus(addend))


def sum_along(replicated: Replicated, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
    """Lifted so far that what follows a sum takes it as it is.

    Any value is summed for a mean, and what is left without it multiplied three times, in the full ring. What has too
    small a ring for any value is softmax's powers, and goes on into one product.
    """
    own = replicated.own(x)
    needed = replicated.policy.sum_bits(own.fraction_bits, own.shape[dim])
    any_value = own.bits >= replicated.policy.ring_bits(own.fraction_bits)
    shares = shares_in(replicated, own, needed, larger=ring.WORD_BITS if any_value else PRODUCT_BITS)
    return ReplicatedSecret(replicated, own.fraction_bits, shares.map(lambda t: t.sum(dim, keepdim=keepdim)))


def truncate(replicated: Replicated, x: Secret, fraction_bits: int) -> Secret:
    """Replicated shares are a pair as they are: nothing is opened."""
    own, shift = replicated.own(x), truncation_shift(x.fraction_bits, fraction_bits)
    if not shift:
        return ReplicatedSecret(replicated, fraction_bits, own.shares)
    return _shifted(replicated, pair_of(replicated.role, own.shares), shift, fraction_bits)


def _shifted(replicated: Replicated, pair: Pair, shift: int, fraction_bits: int) -> ReplicatedSecret:
    if replicated.policy.truncation == "exact":
        return floor(replicated, pair, shift, fraction_bits)
    return ReplicatedSecret(replicated, fraction_bits, replicated.run(Truncate(pair, shift)))


def square_sum(replicated: Replicated, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    """The product of a row with itself as a column: one word is opened for each sum, and one for what is rounded."""
    own, scale = replicated.own(x), 2 * x.fraction_bits
    shares_in(replicated, own, ring.WORD_BITS)
    whole = fraction_bits in (None, scale)
    squared = own if whole else replicated.own(products.in_groups(replicated, own))
    left, right = (squared.shares.map(partial(torch.unsqueeze, dim=axis)) for axis in (-2, -1))
    gate = OpenedProduct(
        Bilinear.MATRIX,
        pair_of(replicated.role, left),
        pair_of(replicated.role, right),
        additive(replicated.role, right),
    )
    sums = replicated.own(replicated.opened(gate, gate.bits, scale, scale).squeeze(-1))
    if fraction_bits is None or whole:
        return sums
    shift, pair = truncation_shift(scale, fraction_bits), pair_of(replicated.role, sums.shares)
    groups = pair.with_low_bits_in_the_first(shift, -2, at_dealer=replicated.at_dealer)
    return products.sum_of_groups(replicated, _shifted(replicated, groups, shift, fraction_bits))


def concatenate(replicated: Replicated, x: Secret, others: Sequence[Secret], dim: int) -> Secret:
    """The parts are joined in the smallest of their rings."""
    parts = [x, *others]
    scale = max(part.fraction_bits for part in parts)
    shares = [scaled_shares(replicated, part, scale) for part in parts]
    own, following = torch.cat([s.own for s in shares], dim), torch.cat([s.following for s in shares], dim)
    return ReplicatedSecret(replicated, scale, Shares(own, following, min(s.bits for s in shares)))


def as_factor(replicated: Replicated, x: Secret, *, wide: bool = False) -> Secret:
    """x is lifted to a ring in which products take it."""
    needed = replicated.policy.ring_bits(x.fraction_bits + replicated.policy.fraction_bits)
    shares = shares_in(replicated, replicated.own(x), needed, larger=ring.WORD_BITS if wide else PRODUCT_BITS)
    return ReplicatedSecret(replicated, x.fraction_bits, shares)


def append(replicated: Replicated, rows: Secret, kept: Secret | None, dim: int) -> Secret:
    """Rows are lifted once, to a ring in which products can take them again and again."""
    added = as_factor(replicated, rows)
    return added if kept is None else concatenate(replicated, kept, [added], dim)


PROGRAMS = table(
    *ROWS,
    row(secret.add, add),
    row(secret.sum_along, sum_along),
    row(primitives.truncate, truncate),
    row(primitives.square_sum, square_sum),
    row(primitives.concatenate, concatenate),
    row(primitives.as_factor, as_factor),
    row(primitives.append, append),
    row(primitives.checked_one_hot, checked_one_hot),
)
