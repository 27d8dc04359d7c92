"""Largest element and its index along the last axis, by a tournament."""

from __future__ import annotations

import math

import torch

from secure.protocols.core.primitives import concatenate
from secure.protocols.core.secret import Secret
from secure.protocols.functions.compare import less_than, select
from secure.protocols.functions.relu import maximum
from secure.protocols.masked.gates.largest import largest_of_few

_MOST_COMPARED = 4
_FEW_ELEMENTS = 1 << 13
"""All pairs of four numbers take half of the rounds and five times the dealer's bytes of halving twice."""


def _halves(x: Secret) -> tuple[Secret, Secret, Secret | None]:
    half = x.shape[-1] // 2
    rest = x[..., 2 * half :] if x.shape[-1] % 2 else None
    return x[..., :half], x[..., half : 2 * half], rest


def _grouped(x: Secret) -> Secret:
    """Groups of up to four, as even as can be; the first elements stand twice where they do not come out even.

    Shapes: [..., n] -> [..., groups, size].
    """
    count = x.shape[-1]
    groups = -(-count // _MOST_COMPARED)
    size = -(-count // groups)
    index = torch.arange(groups * size) % count
    return x.map(lambda t: t[..., index.to(t.device)]).reshape(*x.shape[:-1], groups, size)


def maximum_along(x: Secret) -> Secret:
    """The largest element along the last axis. Shapes: [..., n] -> [..., 1]. Exact. Reveals nothing.

    Elements of a row differ by less than 2^14, as all of the default policy do. Few elements are compared in groups of
    four, to save rounds; many in pairs, to save bytes.
    """
    while x.shape[-1] > 1:
        if math.prod(x.shape) <= _FEW_ELEMENTS:
            x = largest_of_few(_grouped(x)).squeeze(-1)
            continue
        first, second, rest = _halves(x)
        winner = maximum(first, second)
        x = winner if rest is None else concatenate(winner, [rest], -1)
    return x


def argmax(x: Secret) -> Secret:
    """Index of a largest element along the last axis, with no fraction bits.

    Shapes: [..., n] -> [...]. Exact. Reveals nothing: the index is secret.
    """
    index = x.map(torch.zeros_like, 0) + torch.arange(x.shape[-1], dtype=torch.float64)
    while x.shape[-1] > 1:
        (first, second, rest), (first_index, second_index, rest_index) = _halves(x), _halves(index)
        later = less_than(first, second)
        x_winner = select(later, second, first)
        index_winner = select(later, second_index, first_index)
        if rest is None or rest_index is None:
            x, index = x_winner, index_winner
        else:
            x = concatenate(x_winner, [rest], -1)
            index = concatenate(index_winner, [rest_index], -1)
    return index[..., 0]
