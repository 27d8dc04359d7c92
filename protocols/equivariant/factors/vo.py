"""VO: the space of values in a head, one element for each KV head.

Transforms: W_V ← W_V·U (its bias too), W_O ← U⁻¹·W_O for every query head of the group. U is any invertible matrix.

Exact because attention mixes values of different tokens with numbers: Σ a_t·(v_t·U) = (Σ a_t·v_t)·U.

Leaves: W_V·W_O of each head, a matrix of rank d_h, with its singular values; the sum of attention weights.
"""

from __future__ import annotations

from torch import Tensor

from secure.protocols.equivariant.key import Key

CONDITION = 4.0
"""Largest over smallest singular value of U. Rounding in W_V and W_O grows by no more than this."""


def general(key: Key, layer: int, heads: int, width: int) -> tuple[Tensor, Tensor]:
    """U for each KV head, and U⁻ᵀ. Shapes: float64 [heads, width, width]."""
    return key.stream("vo", str(layer)).invertible(width, CONDITION, heads)


def permutations(key: Key, layer: int, heads: int, width: int) -> Tensor:
    """U for each KV head, a permutation. Shapes: int64 [heads, width]."""
    return key.stream("vo", str(layer)).permutations(width, heads)
