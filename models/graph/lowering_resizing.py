"""ATen operators as operations of a graph: images and sequences in another size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.builder import GraphBuilder, Value
from secure.models.graph.lowering import dense, reshape
from secure.models.graph.lowering_views import expand, transpose


def resize(operator: Callable[..., Tensor]) -> Callable[..., Value]:
    """What a user's Upsample or interpolate became, of sequences or images: a linear map along one axis after another.

    Which map is asked of torch itself, as modes differ in how they place and round.
    """

    def lower(b: GraphBuilder, x: Value, size: Sequence[int] | None, *options: Any) -> Value:
        """Shapes: [B, C, L] or [B, C, H, W] -> the same with other lengths. options: the scale factors come last."""
        *others, factors = options
        axes = len(x.shape) - 2
        for i in range(axes):
            # The other axes of what the operator is asked about have length one.
            alone = None if size is None else [size[i] if j == i else 1 for j in range(axes)]
            scales = None if factors is None else [factors[i] if j == i else 1.0 for j in range(axes)]
            n = x.shape[2 + i]
            unit = torch.eye(n, dtype=torch.float64).reshape(1, n, *(n if j == i else 1 for j in range(axes)))
            x = _along(b, x, 2 + i, operator(unit, alone, *others, scales).reshape(n, -1))
        return x

    return lower


def _along(b: GraphBuilder, x: Value, dim: int, matrix: Tensor) -> Value:
    """A linear map along one axis. Shapes: matrix [n, m]. One that repeats every element is a view."""
    n, m = matrix.shape
    times = m // n
    if torch.equal(matrix, torch.eye(n, dtype=matrix.dtype).repeat_interleave(times, 1)):
        before, after = list(x.shape[: dim + 1]), list(x.shape[dim + 1 :])
        repeated = expand(b, reshape(b, x, [*before, 1, *after]), [*before, times, *after])
        return reshape(b, repeated, [*before[:-1], m, *after])
    last = len(x.shape) - 1
    return transpose(b, dense(b, transpose(b, x, dim, last), matrix, None), dim, last)
