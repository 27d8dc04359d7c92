"""QK: the space in which a head compares queries with keys, one element for each KV head.

Transforms: W_Q ← W_Q·A for every query head of the group, W_K ← W_K·A⁻ᵀ; biases take the same writes.

Exact because a score is q·kᵀ and (qA)(kA⁻ᵀ)ᵀ = q·kᵀ. With rotary positions A must commute with every rotation:
A = ⊕ s_p·Rot(φ_p) on the pairs (j, j + d_h/2) of Hugging Face's layout, whatever the frequencies (linear, dynamic,
YaRN, LongRoPE, Llama 3 alike, for they change frequencies and a common factor only). Without rotary positions A is
any invertible matrix, and the bias of the keys is free: it adds the same number to all scores of a query, which
softmax ignores. It is set to zero.

Where heads have norms of their own, with gains γ before the rotations, q is norm(xW_Q)·diag(γ_Q), and A has to pass
both: W_Q ← W_Q·O and γ_Q ← γ_Q' with O·diag(γ_Q') = diag(γ_Q)·A, where O is orthogonal, as RMSNorm asks, and γ_Q' one
gain for all heads. For gains of any size that leaves, for each pair, an exchange of its two entries (a rotation by 90°)
and a scale s, both the same in all heads as the gains take them, γ_Q' = s·γ_Q and γ_K' = γ_K/s in the new order, and a
sign (a rotation by 180°) for each KV head. Signs of gains are left as they are.

Leaves: all scores, so all attention maps; W_Q·W_Kᵀ of each head. With rotary positions the norm of each pair's
columns times that of its partner's, and which frequency a pair has: no pair can change places with another. Behind
norms of heads each column but for its sign and its place in its pair, and γ_Q·γ_K.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class BehindNorms:
    """What passes norms of heads. order: old places of a head's entries, int64 [width]; signs: of each KV head, float64
    [heads, width]; scales: what the queries' gain is multiplied by in the new order, and the keys' divided by, float64
    [width].
    """

    order: Tensor
    signs: Tensor
    scales: Tensor


def behind_norms(key: Key, layer: int, heads: int, width: int) -> BehindNorms:
    """O and the change of gains for queries and keys that have norms before their rotation."""
    stream = key.stream("qk", str(layer))
    pairs = width // 2
    exchanged = stream.signs(pairs) < 0
    scales = stream.scales(pairs, CONDITION)
    signs = stream.signs(heads * pairs).reshape(heads, pairs)
    places = torch.arange(pairs)
    order = torch.cat((places + pairs * exchanged, places + pairs * ~exchanged))
    # A rotation by 90° takes (a, b) to (-b, a).
    turned = torch.where(exchanged, -signs, signs)
    return BehindNorms(order, torch.cat((turned, signs), -1), scales.repeat(2))


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
