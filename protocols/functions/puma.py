"""PUMA's approximations, as that paper gives them, next to ours: GeLU by four pieces, exp by repeated squaring, and
softmax and layer normalisation on them.

They run on every family. What differs from ours is the formulas alone: comparisons, products and truncations are those
of the family. Each function takes what its namesake in the other files takes.

Source: Dong et al., PUMA: secure inference of LLaMA-7B in five minutes, 2023 (arXiv 2307.12533), sections 4.1 to 4.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from protocols.core.piecewise import Piece, Piecewise
from protocols.core.secret import Secret
from protocols.functions.argmax import maximum_along
from protocols.functions.octaves import inverse_root_function, reciprocal

_LOW, _MIDDLE, _HIGH = -4.0, -1.95, 3.0
_LOW_PIECE = (-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728)
"""Coefficients of 1, x, x^2, x^3 on [-4, -1.95)."""
_MIDDLE_PIECE = (0.008526321541038084, 0.5, 0.3603292692789629, -0.037688200365904236, 0.0018067462606141187)
"""Coefficients of 1, x, x^2, x^4, x^6 on [-1.95, 3]."""

LOWEST_EXPONENT = 14.0
"""PUMA's threshold: exp is zero below minus this."""
SQUARINGS = 5
"""PUMA's t: e^x is (1 + x / 2^t)^(2^t)."""
_VARIANCE_POWERS = (-12, 12)


def _between(low: float, high: float) -> Piecewise:
    """[low <= x < high]."""

    def reference(x: Tensor) -> Tensor:
        return ((x >= low) & (x < high)).to(torch.float64)

    return Piecewise(
        name=f"between-{low:g}-{high:g}",
        thresholds=(low, high),
        pieces=(None, Piece(constant=1.0), None),
        reference=reference,
        domain=(-8191.0, 8191.0),
        output_bits=0,
        integer_bits=30,
    )


def _clamped(low: float, high: float) -> Piecewise:
    """x, but at least low and at most high."""
    return Piecewise(
        name=f"clamp-{low:g}-{high:g}",
        thresholds=(low, high),
        pieces=(Piece(constant=low), Piece(slope=1.0), Piece(constant=high)),
        reference=lambda x: x.clamp(low, high),
        domain=(-8191.0, 8191.0),
        integer_bits=13,
    )


_IN_LOW, _IN_MIDDLE, _CLAMPED = _between(_LOW, _MIDDLE), _between(_MIDDLE, _HIGH), _clamped(_LOW, _HIGH)
_ABOVE = Piecewise(
    name="above-3",
    thresholds=(_HIGH,),
    pieces=(None, Piece(slope=1.0)),
    reference=lambda x: torch.where(x < _HIGH, 0.0, x),
    domain=(-8191.0, 8191.0),
    integer_bits=13,
)
_EXPONENT = _clamped(0.0, LOWEST_EXPONENT)
_EXPONENT_IN_RANGE = Piecewise(
    name="below-14",
    thresholds=(LOWEST_EXPONENT,),
    pieces=(Piece(constant=1.0), None),
    reference=lambda x: (x < LOWEST_EXPONENT).to(torch.float64),
    domain=(-8191.0, 8191.0),
    output_bits=0,
    integer_bits=30,
)


def gelu(x: Secret) -> Secret:
    """PUMA's GeLU. Shapes: any -> same. Error: 2.1e-2 of the exact GeLU, at -4. Reveals nothing.

    0 below -4, a cubic on [-4, -1.95), a polynomial of degree six on [-1.95, 3], x above. The polynomials are of the
    clamped argument, so that no power leaves the range of the policy.
    """
    protocol = x.protocol
    inner = protocol.piecewise(x, _CLAMPED)
    square = inner * inner
    cube, fourth = square * inner, square * square
    sixth = fourth * square
    c, d = _LOW_PIECE, _MIDDLE_PIECE
    low = cube * c[3] + square * c[2] + inner * c[1] + c[0]
    middle = sixth * d[4] + fourth * d[3] + square * d[2] + inner * d[1] + d[0]
    in_low, in_middle = protocol.piecewise(x, _IN_LOW), protocol.piecewise(x, _IN_MIDDLE)
    return low * in_low + middle * in_middle + protocol.piecewise(x, _ABOVE)


def exp_negative(u: Secret) -> Secret:
    """PUMA's e^(-u), u >= 0: (1 - u / 32)^32 for u < 14, zero from there on. Error: 9e-3. Reveals nothing."""
    protocol = u.protocol
    power = 1.0 - protocol.piecewise(u, _EXPONENT) * (1.0 / 2**SQUARINGS)
    for _ in range(SQUARINGS):
        power = power * power
    return protocol.multiply(power, protocol.piecewise(u, _EXPONENT_IN_RANGE))


def softmax(scores: Secret, mask: Secret | None = None) -> Secret:
    """PUMA's softmax along the last axis: its exponential of the distance to the maximum. Shapes: as ours."""
    scores = scores if mask is None else scores + mask
    powers = exp_negative(maximum_along(scores) - scores)
    highest = math.ceil(math.log2(scores.shape[-1])) + 1
    return powers * reciprocal(powers.sum(-1, keepdim=True), lowest=-1, highest=highest)


def layer_norm(x: Secret, gain: Secret, offset: Secret, epsilon: float) -> Secret:
    """PUMA's layer normalisation along the last axis: the inverse root of the variance, and one product after another.

    Shapes and range: as ours. Error: as ours, and one more truncation times the gain.
    """
    protocol, width = x.protocol, x.shape[-1]
    centred = x - x.sum(-1, keepdim=True) * (1.0 / width)
    squares = protocol.square_sum(centred) + width * epsilon
    lowest, highest = (p + math.floor(math.log2(width)) for p in _VARIANCE_POWERS)
    inverse = protocol.piecewise(squares, inverse_root_function(width, lowest, highest))
    normal = protocol.multiply(centred, inverse, fraction_bits=x.fraction_bits)
    return protocol.multiply(normal, gain) + offset
