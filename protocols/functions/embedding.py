"""Rows of a table, chosen by a secret index."""

from __future__ import annotations

import math
from typing import Any

import torch

from secure.protocols.core.primitives import concatenate, linear
from secure.protocols.core.secret import Secret
from secure.protocols.functions.compare import equal

_MOST_ROWS = 128
"""One-hot vectors are as long as the table: more of them at a time than this would take gigabytes at a party."""


def one_hot(index: Secret, count: int) -> Secret:
    """The one-hot vector of a secret index, 0 to count - 1: for whom the client shares a token's number alone.

    Shapes: index [...] with no fraction bits -> [..., count] with none; zero everywhere for an index out of range.
    Exact. Reveals nothing. Costs a comparison for each of the `count` entries: a client that shares the vector itself
    saves the parties that work.
    """
    numbers = torch.arange(count, dtype=torch.float64)
    return equal(index.unsqueeze(-1).expand(*index.shape, count) + -numbers, 0.0)


def embedding(one_hot: Secret, table: Any) -> Secret:
    """Row `index` of the table, from a one-hot vector that the client shared.

    Shapes: one_hot [..., V] with no fraction bits, table [V, D] -> [..., D] at the table's scale. Exact.
    Reveals nothing: neither the index nor the row.
    """
    shape = one_hot.shape
    flat = one_hot.reshape(math.prod(shape[:-1]), shape[-1])
    parts = [linear(flat[start : start + _MOST_ROWS], table, None) for start in range(0, flat.shape[0], _MOST_ROWS)]
    rows = parts[0] if len(parts) == 1 else concatenate(parts[0], parts[1:], 0)
    return rows.reshape(*shape[:-1], rows.shape[-1])
