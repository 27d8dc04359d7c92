"""Softmax along the last axis."""

from __future__ import annotations

import math

from protocols.core.secret import Secret
from protocols.functions.argmax import maximum_along
from protocols.functions.octaves import reciprocal_function

MASKED = -2048.0
"""What an additive mask holds at positions that must get probability zero: below every score by more than 16."""


def exponentials(scores: Secret, *, base_two: bool = False) -> tuple[Secret, Secret]:
    """2^(x - max) or e^(x - max), and the inverse of their sum: softmax is their product.

    Attention multiplies by the inverse after the product with the values, where there are fewer elements. With
    `base_two` the scores were multiplied by log2(e) before, for free where a weight absorbs the factor.

    Shapes: [..., n] -> [..., n], [..., 1]. Scores satisfy |x| < 1800, plus MASKED where masked; each row has an
    unmasked element. Error: 1e-4 in each exponential. Reveals nothing.
    """
    protocol = scores.protocol
    if not base_two:
        scores = scores * math.log2(math.e)
    powers = protocol.exp2_negative(maximum_along(scores) - scores)
    total = powers.sum(-1, keepdim=True)
    # The largest element contributes one, so the sum is between one (less its error) and n.
    highest = math.ceil(math.log2(scores.shape[-1])) + 1
    return powers, protocol.piecewise(total, reciprocal_function(-1, highest))


def softmax(scores: Secret, mask: Secret | None = None, *, base_two: bool = False) -> Secret:
    """Softmax along the last axis, with an additive mask of 0 and MASKED.

    Shapes: [..., n], mask broadcasts to it -> [..., n]. Error: 2e-4. Reveals nothing.
    """
    powers, inverse = exponentials(scores if mask is None else scores + mask, base_two=base_two)
    return powers * inverse
