"""QK: the space in which a head compares queries with keys, one element for each KV head.

Transforms: W_Q ← W_Q·A for every query head of the group, W_K ← W_K·A⁻ᵀ; biases take the same writes.

Exact because a score is q·kᵀ and (qA)(kA⁻ᵀ)ᵀ = q·kᵀ. With rotary positions A must commute with every rotation:
A = ⊕ s_p·Rot(φ_p) on the pairs (j, j + d_h/2) of Hugging Face's layout, whatever the frequencies (linear, dynamic,
YaRN, LongRoPE, Llama 3 alike, for they change frequencies and a common factor only). Without rotary positions A is
any invertible matrix, and the bias of the keys is free: it adds the same number to all scores of a query, which
softmax ignores. It is set to zero.

Leaves: all scores, so all attention maps; W_Q·W_Kᵀ of each head. With rotary positions the norm of each pair's
columns times that of its partner's, and which frequency a pair has: no pair can change places with another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.equivariant.key import Key

CONDITION = 4.0
"""Largest over smallest singular value of A. Rounding in W_Q and W_K grows by no more than this."""


def rotary(key: Key, layer: int, heads: int, width: int) -> tuple[Tensor, Tensor]:
    """A for each KV head, commuting with rotary positions, and A⁻ᵀ. Shapes: float64 [heads, width, width]."""
    stream = key.stream("qk", str(layer))
    pairs = width // 2
    scale = stream.scales(heads * pairs, CONDITION).reshape(heads, pairs)
    angle = stream.angles(heads * pairs).reshape(heads, pairs)
    return _rotations(angle, scale), _rotations(angle, 1 / scale)


def general(key: Key, layer: int, heads: int, width: int) -> tuple[Tensor, Tensor]:
    """A for each head, any invertible matrix, and A⁻ᵀ. Shapes: float64 [heads, width, width]."""
    return key.stream("qk", str(layer)).invertible(width, CONDITION, heads)


def permutations(key: Key, layer: int, heads: int, width: int) -> Tensor:
    """A for each head, a permutation; only without rotary positions. Shapes: int64 [heads, width]."""
    return key.stream("qk", str(layer)).permutations(width, heads)


def _rotations(angle: Tensor, scale: Tensor) -> Tensor:
    """⊕ s·Rot(φ) on the pairs (j, j + width/2). Shapes: float64 [heads, pairs] -> [heads, 2·pairs, 2·pairs]."""
    cosine, sine = torch.diag_embed(scale * angle.cos()), torch.diag_embed(scale * angle.sin())
    return torch.cat((torch.cat((cosine, sine), -1), torch.cat((-sine, cosine), -1)), -2)
