"""Largest element and its index along the last axis, by a tournament."""

from __future__ import annotations

import functools
import math

import torch

from secure.protocols.core.primitives import concatenate
from secure.protocols.core.secret import Secret
from secure.protocols.functions.compare import less_than, select
from secure.protocols.masked.gates.largest import largest_of_few

_STEP_ROUNDS = 3  # compare, open the bits, open the largest ones
_GROUP_BYTES = {2: 16, 3: 62, 4: 174, 5: 437, 6: 1043, 7: 2423, 8: 5537}
"""Numbers that are compared at once, and about what the dealer sends for it, with two fraction bits."""


def _halves(x: Secret) -> tuple[Secret, Secret, Secret | None]:
    half = x.shape[-1] // 2
    rest = x[..., 2 * half :] if x.shape[-1] % 2 else None
    return x[..., :half], x[..., half : 2 * half], rest


def _grouped(x: Secret, size: int) -> Secret:
    """Groups of that size; the first elements stand twice where they do not come out even.

    Shapes: [..., n] -> [..., groups, size].
    """
    count = x.shape[-1]
    groups = -(-count // size)
    index = torch.arange(groups * size) % count
    return x.map(lambda t: t[..., index.to(t.device)]).reshape(*x.shape[:-1], groups, size)


@functools.cache
def group_sizes(count: int, rows: int, round_bytes: int) -> tuple[int, ...]:
    """Into groups of which sizes `count` numbers are put, step by step, until one is left; in each of `rows` rows.

    They are those for which the dealer sends least, if a round is worth so many bytes: small groups come first, while
    there are many numbers.
    """
    if count == 1:
        return ()

    def found(size: int) -> tuple[int, ...]:
        return (size, *group_sizes(-(-count // size), rows, round_bytes))

    def cost(sizes: tuple[int, ...]) -> int:
        total, left = len(sizes) * _STEP_ROUNDS * round_bytes, count
        for size in sizes:
            left = -(-left // size)
            total += rows * left * _GROUP_BYTES[size]
        return total

    return min((found(size) for size in _GROUP_BYTES if size <= max(count, 2)), key=cost)


def maximum_along(x: Secret) -> Secret:
    """The largest element along the last axis. Shapes: [..., n] -> [..., 1]. Exact. Reveals nothing.

    Elements of a row differ by less than 2^14, as all of the default policy do. They are compared in groups, as
    `group_sizes` says: the more a round is worth, the larger ones.
    """
    for size in group_sizes(x.shape[-1], math.prod(x.shape[:-1]), x.protocol.profile.round_bytes):
        x = largest_of_few(_grouped(x, size)).squeeze(-1)
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
