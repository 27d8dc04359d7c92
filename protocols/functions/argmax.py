"""Largest element and its index along the last axis, by a tournament."""

from __future__ import annotations

import torch

from protocols.core.secret import Secret
from protocols.functions.compare import less_than, select
from protocols.functions.relu import maximum


def _halves(x: Secret) -> tuple[Secret, Secret, Secret | None]:
    half = x.shape[-1] // 2
    rest = x[..., 2 * half :] if x.shape[-1] % 2 else None
    return x[..., :half], x[..., half : 2 * half], rest


def maximum_along(x: Secret) -> Secret:
    """The largest element along the last axis. Shapes: [..., n] -> [..., 1]. Exact. Reveals nothing."""
    while x.shape[-1] > 1:
        first, second, rest = _halves(x)
        winner = maximum(first, second)
        x = winner if rest is None else x.protocol.concatenate([winner, rest], -1)
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
            x = x.protocol.concatenate([x_winner, rest], -1)
            index = x.protocol.concatenate([index_winner, rest_index], -1)
    return index[..., 0]
