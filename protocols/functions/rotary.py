"""Rotary positions: pairs of a vector's entries are turned by angles that grow with its position.

Positions and angles are public, so a rotation is a linear map with public coefficients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.primitives import multiply_public, truncate
from secure.protocols.core.secret import Secret


def rotations(positions: Tensor, frequencies: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """scale times cos and sin of position * frequency, in radians a position.

    Shapes: integer [T], float [d/2] -> float64 [T, d/2] twice. Bit-identical on every machine, as the parties multiply
    shares by them: floats are multiplied, and cosines come from tables. The angle is rounded to float32, as models
    were trained; beyond that the error is 2e-7, times the scale.
    """
    angles = positions.to(torch.float32).unsqueeze(1) * frequencies.to(torch.float32)
    turns = torch.round(angles.to(torch.float64) * (2.0**integer_functions.ANGLE_BITS / (2 * math.pi))).to(torch.int64)
    cos, sin = integer_functions.phasor(turns % (1 << integer_functions.ANGLE_BITS))
    factor = scale / 2.0**integer_functions.SCALE_BITS
    return cos.to(torch.float64) * factor, sin.to(torch.float64) * factor


def rotate(x: Secret, cos: Tensor, sin: Tensor) -> Secret:
    """Every entry i of the first half and its partner in the second turned: x_i cos - y_i sin, y_i cos + x_i sin.

    Shapes: x [..., T, d], cos and sin float [T, d/2] or more that broadcast -> [..., T, d]. |result| < 2^value_bits.
    Error: 2^-(f+1) (|x_i| + |y_i|) from rounding cos and sin to f fraction bits, and one unit.
    Reveals nothing. Both products are added up as shares: one truncation.
    Source: Su et al., RoFormer: enhanced transformer with rotary position embedding, 2021; halves as in GPT-NeoX.
    """
    half = x.shape[-1] // 2
    kept = multiply_public(x, torch.cat([cos, cos], -1))
    crossed = multiply_public(x.map(lambda t: t.roll(half, -1)), torch.cat([-sin, sin], -1))
    return truncate(kept + crossed, x.fraction_bits)
