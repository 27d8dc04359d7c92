"""Softmax along the last axis."""

from __future__ import annotations

import math

from secure.protocols.core.piecewise import LARGEST, Piece, Piecewise
from secure.protocols.core.primitives import as_factor, halve, truncate
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.functions.compare import difference
from secure.protocols.functions.reciprocal_and_root import reciprocal
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import piecewise

_COARSE_BITS, _NATURAL_COARSE_BITS = 2, 3
_SHORT_POWER = 10
"""Sums below 2^10, which those of up to 512 elements are, have inverses of 64 units and more."""
_INVERSE_BITS, _FINE_INVERSE_BITS = 16, 22
_SHARE_VALUE_BITS = 1  # of a share of the whole, which errors may bring above one
_FAR = 16.0
# How far a score is below the largest one, up to 15 and to 17 or less where it is more: e^-15 is zero already.
_NEAR = Piecewise(
    name="near",
    thresholds=(_FAR,),
    pieces=(Piece(slope=1.0), Piece(constant=_FAR)),
    reference=lambda x: x.clamp(max=_FAR),
    domain=(-0.25, 2 * LARGEST + 0.25),
    max_error=1.0,
    blur_bits=0,
    integer_bits=5,
)
MASKED = -2048.0
"""What an additive mask holds at positions that must get probability zero: below every score by more than 16."""


def exponentials(scores: Secret, *, base_two: bool = False, halvings: int = 0) -> Secret:
    """2^(x - m) or e^(x - m) for an m close to the maximum: softmax is their product with `inverse_sum`.

    Attention multiplies by the inverse after the product with the values, where there are fewer elements, and computes
    both at once. With `base_two` the scores were multiplied by log2(e) before, for free where a weight absorbs the
    factor. With `halvings` the powers are divided by 2^halvings, as `halved` does it: so the undivided sum stays small.

    Shapes: [..., n] -> [..., n]. Scores satisfy |x| <= 8191, with MASKED added where masked; each row has an unmasked
    element, and before MASKED is added no masked one is 2032 or more above the largest of those.
    Error: 1e-4 in each exponential. Reveals nothing.
    """
    # Whatever is subtracted cancels, and a maximum of numbers with few fraction bits takes less comparing. It is off
    # by a quarter at the most, times log2(e) too: that much below the true one is what the exponential takes.
    coarse = truncate(scores, _COARSE_BITS if base_two else _NATURAL_COARSE_BITS)
    below = difference(maximum_along(coarse), scores)
    if not base_two:
        # Numbers of the whole range are up to 2^14 apart, which is too much to be multiplied.
        below = piecewise(below, _NEAR) * math.log2(math.e)
    # The opening that the product with the values needs serves the sum, too.
    return as_factor(halved(exp2_negative(below), halvings))


def inverse_sum(powers: Secret, halvings: int = 0) -> Secret:
    """The inverse of the sum along the last axis of powers as `exponentials` gives them, with as many halvings.

    The largest element contributes 2^(-1/4) to 2^(1/4) before it is halved, so the sum is between 1/2 and 2 n then.
    Shapes: [..., n] -> [..., 1]. Reveals nothing.
    """
    highest = math.ceil(math.log2(powers.shape[-1])) + 1 - halvings
    output_bits = _INVERSE_BITS if highest <= _SHORT_POWER else _FINE_INVERSE_BITS
    return reciprocal(powers.sum(-1, keepdim=True), lowest=-1 - halvings, highest=highest, output_bits=output_bits)


def divided(powers: Secret, inverse: Secret) -> Secret:
    """powers * inverse at the scale of the powers, which are undivided. Shapes: [..., n], [..., 1] -> [..., n]."""
    return multiply(powers, inverse, fraction_bits=powers.fraction_bits, value_bits=_SHARE_VALUE_BITS)


def halved(powers: Secret, halvings: int) -> Secret:
    """powers / 2^halvings, with one fraction bit more: above one halving their unit is a coarser one than before."""
    if halvings == 0:
        return powers
    kept = powers.fraction_bits + 1 - halvings
    return halve(truncate(powers, kept) if halvings > 1 else powers, halvings)


def softmax(scores: Secret, mask: Secret | None = None, *, base_two: bool = False) -> Secret:
    """Softmax along the last axis, with an additive mask of 0 and MASKED.

    Shapes: [..., n], mask broadcasts to it -> [..., n]. Error: 1e-4 + 3.1e-5 (n - 1). Reveals nothing.
    The inverse is off by 4e-5 of itself and 1.8e-5, and a product by a unit. The rest are exponentials that come out
    as zero, from 2^-15.25 down, where the largest is 2^(-1/4) or more: at the worst all others of a row, and what they
    had goes to the largest. Rounding of small ones is as bad with exact truncation, and mostly cancels otherwise.
    A row adds up to one, up to 1/256, or 1/64 where 128 < n <= 512; but with exact truncation each entry is a floor,
    and up to n 2^-16 more is missing: 6 % of a row of 4096 equal scores.
    """
    powers = exponentials(scores if mask is None else scores + mask, base_two=base_two)
    return divided(powers, inverse_sum(powers))
