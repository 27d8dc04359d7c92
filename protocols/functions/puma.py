"""PUMA's approximations, as that paper gives them, next to ours: GeLU and SiLU by four pieces, exp by repeated
squaring, softmax and layer normalisation on them.

They run on every family. What differs from ours is the formulas alone: comparisons, products and truncations are those
of the family. Each function takes what its namesake in the other files takes.
`secure.protocols.functions.policy_functions` has the ones that a model's number format names. RMSNorm has no row of its
own: ours is the inverse root of the mean square and one product, too. So is PUMA's layer norm of what has a mean of
zero, before its gain and offset.

Errors hold for policies of 10 fraction bits or more; below, rounding makes those of GeLU and SiLU up to three times as
large.

Source: Dong et al., PUMA: secure inference of LLaMA-7B in five minutes, 2023 (arXiv 2307.12533), sections 4.1 to 4.3.
The paper has no figures for SiLU; its pieces are those of PUMA's implementation, SPU, examples/python/ml/flax_llama7b.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from secure.protocols.core.primitives import concatenate, multiply_public, square_sum
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.functions.compare import less_than
from secure.protocols.functions.layernorm import FULL_POWERS, sum_powers
from secure.protocols.functions.reciprocal_and_root import inverse_root_function
from secure.protocols.functions.softmax import divided, halved, inverse_sum
from secure.protocols.masked.gates.piecewise import piecewise

LOWEST_EXPONENT = 14.0
"""PUMA's threshold: exp is zero below minus this."""
SQUARINGS = 5
"""PUMA's t: e^x is (1 + x / 2^t)^(2^t)."""


@dataclass(frozen=True)
class _FourPieces:
    """0 below the first cut, the polynomial `low` up to the second, `middle` up to the third, x from there on.

    Coefficients are by power of x. The cuts' magnitudes are 8 at the most.
    """

    cuts: tuple[float, float, float]
    low: Mapping[int, float]
    middle: Mapping[int, float]


_GELU = _FourPieces(
    cuts=(-4.0, -1.95, 3.0),
    low={0: -0.5054031199708174, 1: -0.42226581151983866, 2: -0.11807612951181953, 3: -0.011034134030615728},
    middle={
        0: 0.008526321541038084,
        1: 0.5,
        2: 0.3603292692789629,
        4: -0.037688200365904236,
        6: 0.0018067462606141187,
    },
)
_SILU = _FourPieces(
    cuts=(-8.0, -4.0, 4.0),
    low={0: -0.3067541139982155, 1: -0.0819767021525476, 2: -0.0055465625580307},
    middle={
        0: 0.0085064025895951,
        1: 0.5,
        2: 0.2281430841728270,
        4: -0.011113046708173,
        6: 0.0002743776353465,
    },
)
_double = functools.partial(torch.tensor, dtype=torch.float64)


def _four_pieces(x: Secret, function: _FourPieces) -> Secret:
    """The function of x, for |x| <= 4096.

    Three comparisons, as PUMA. The polynomials are of half of x, clamped between the outer cuts: so the sixth power
    stays in the range of the policy, and coefficients keep more digits.
    """
    scale, ones = x.fraction_bits, (1,) * len(x.shape)
    above = x.unsqueeze(0).expand(3, *x.shape) + -_double(function.cuts).reshape(3, *ones)
    reached = 1.0 - less_than(above, 0.0)
    halves = multiply_public(reached[::2], torch.full((2, *ones), 0.5))
    beyond = multiply(halves, above[::2], fraction_bits=scale)  # (x - cut) / 2 from each outer cut on
    first = beyond[0] - beyond[1] + function.cuts[0] / 2
    second = first * first
    fourth = second * second
    powers = {1: first, 2: second, 4: fourth, 6: fourth * second}
    if 3 in function.low:
        powers[3] = second * first
    pieces = (function.low, function.middle)
    factors = _double([[piece.get(power, 0.0) * 2.0**power for power in powers] for piece in pieces])
    first, *others = (power.unsqueeze(0) for power in powers.values())
    stacked = concatenate(first, others, 0)
    terms = multiply_public(stacked.unsqueeze(0), factors.reshape(*factors.shape, *ones))
    polynomials = terms.sum(1) + _double([piece[0] for piece in pieces]).reshape(2, *ones)
    chosen = multiply(polynomials, reached[:2] - reached[1:], fraction_bits=scale)
    return chosen.sum(0) + beyond[1] * 2 + reached[2] * function.cuts[2]


def gelu(x: Secret) -> Secret:
    """PUMA's GeLU. Shapes: any -> same. Error: 2.1e-2 of the exact GeLU, below 3, for |x| <= 4096. Reveals nothing.

    0 below -4, a cubic on [-4, -1.95), a polynomial of degree six on [-1.95, 3), x above.
    """
    return _four_pieces(x, _GELU)


def silu(x: Secret) -> Secret:
    """PUMA's SiLU. Shapes: any -> same. Error: 7.3e-2 of the exact SiLU, below 4, for |x| <= 4096. Reveals nothing.

    0 below -8, a parabola on [-8, -4), a polynomial of degree six on [-4, 4), x above.
    """
    return _four_pieces(x, _SILU)


def exp_negative(u: Secret) -> Secret:
    """PUMA's e^(-u), u >= 0: (1 - u / 32)^32 for u < 14, zero from there on.

    Shapes: any -> same. Error: 9e-3, and 64 units of rounding: 1e-3 with 16 fraction bits. Reveals nothing.
    """
    return _power_negative(u, 1.0)


def _power_negative(u: Secret, exponent: float) -> Secret:
    """e^(-exponent u) by PUMA's formula, u >= 0: for one comparison, a product and the squarings."""
    inside = less_than(u, LOWEST_EXPONENT / exponent)
    # Outside the base is one, so that no power leaves the range.
    factor = multiply_public(inside, _double(-exponent / 2**SQUARINGS))
    power = multiply(u, factor, fraction_bits=u.fraction_bits) + 1.0
    for _ in range(SQUARINGS):
        power = power * power
    return multiply(power, inside)


def exponentials(scores: Secret, *, base_two: bool = False, halvings: int = 0) -> Secret:
    """PUMA's exponential of the distance to the maximum along the last axis.

    Shapes, base_two and halvings: as ours. Scores satisfy |x| < 1800, plus MASKED where masked. Reveals nothing.
    """
    # Scores that were multiplied by log2(e) are distances of e^(-u ln 2): the formula's divisor takes the factor.
    return halved(_power_negative(maximum_along(scores) - scores, math.log(2.0) if base_two else 1.0), halvings)


def softmax(scores: Secret, mask: Secret | None = None, *, base_two: bool = False) -> Secret:
    """PUMA's softmax along the last axis. Shapes: as ours. Reveals nothing."""
    powers = exponentials(scores if mask is None else scores + mask, base_two=base_two)
    return divided(powers, inverse_sum(powers))


def layer_norm(x: Secret, gain: Secret, offset: Secret, epsilon: float, *, zero_mean: bool = False) -> Secret:
    """PUMA's layer normalisation along the last axis: the inverse root of the variance, and one product after another.

    Shapes, range and zero_mean: as ours. Error: twice ours, with a unit in place of 2^-16, and one more
    truncation times the gain. Reveals nothing.
    """
    width = x.shape[-1]
    centred = x if zero_mean else x - x.sum(-1, keepdim=True) * (1.0 / width)
    squares = square_sum(centred) + width * epsilon
    lowest, highest = sum_powers(width, FULL_POWERS)
    inverse = piecewise(squares, inverse_root_function(width, lowest, highest))
    normal = multiply(centred, inverse, fraction_bits=x.fraction_bits)
    return multiply(normal, gain) + offset
