"""Normalisation along the last axis: by mean and deviation, by the root of the mean square, by the L2 norm."""

from __future__ import annotations

import math

from secure.protocols.core import ring
from secure.protocols.core.primitives import halve, square_sum
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.functions.reciprocal_and_root import MOST_FINE_BITS, fine_inverse_root, inverse_root_function
from secure.protocols.masked.gates.piecewise import piecewise
from secure.protocols.masked.gates.triple_product import multiply_three

_INVERSE_BITS = 17  # 16 + 17 + 16 fraction bits are what three factors may have
_NORM_BITS = 22  # the inverse of a norm may be as small as 2^-8
VARIANCE_POWERS = (-20, 12)
FULL_POWERS = (-20, 26)
"""Around the mean squares of all rows of numbers in the default policy's range, less their mean or not."""
SQUARE_POWERS = (-14, 18)  # decoders add up what every layer writes: a few tokens of GPT-2 reach a root of 200
LEAST_MEAN_SQUARE = 2.0 ** SQUARE_POWERS[0]
"""The least mean square of a decoder's rows: smaller ones come out smaller than they should be."""
_SQUARE_BITS = 32  # the fraction bits of squares
_MOST_SUM_POWER = ring.WORD_BITS - 2 - _SQUARE_BITS
_SLACK = 1.01  # times sqrt(n), for errors of the inverse: what an entry of a normalised row is below


def most_mean_square(width: int) -> float:
    """The largest mean square of a decoder's rows of that width: larger ones come out wrong."""
    return min(2.0 ** SQUARE_POWERS[1], 2.0**_MOST_SUM_POWER / width)


def sum_powers(width: int, powers: tuple[int, int], square_bits: int = _SQUARE_BITS) -> tuple[int, int]:
    """(a, b) with 2^a to 2^b around every sum of `width` squares whose mean is from 2^powers[0] to 2^powers[1].

    square_bits: fraction bits of the squares, which leave so much room for their sum.
    """
    lowest, highest = sums_around(width, powers)
    return lowest, min(highest, ring.WORD_BITS - 2 - max(square_bits, _SQUARE_BITS))


def sums_around(width: int, powers: tuple[int, int]) -> tuple[int, int]:
    """`sum_powers` where there is room for all sums."""
    return powers[0] + math.floor(math.log2(width)), powers[1] + math.ceil(math.log2(width))


def layer_norm(x: Secret, gain: Secret, offset: Secret, epsilon: float, *, zero_mean: bool = False) -> Secret:
    """(x - mean) / sqrt(variance + epsilon) * gain + offset along the last axis.

    zero_mean: x has a mean of zero as it is, which saves its round.

    Shapes: x [..., n], gain and offset [n] -> [..., n]. The variance is in [2^-20, 2^12] (below, the result is
    smaller than it should be); |gain| sqrt(n) < 2^12.
    Error, with s the standard deviation and d = |x - mean|, for gains of magnitude one:
    1.5 (2^-16 + |mean| 2^-21) / s + 2^-17 d + 4e-5 d / s + 2^-16: a unit in x counts 1/s times in the result.
    Reveals nothing. The mean costs one opening per row; one opening of x - mean serves its square and the product.
    """
    centred = x if zero_mean else x - x.sum(-1, keepdim=True) * (1.0 / x.shape[-1])
    return rms_norm(centred, gain, epsilon, powers=VARIANCE_POWERS) + offset


def full_range_layer_norm(x: Secret, gain: Secret, offset: Secret, epsilon: float) -> Secret:
    """`layer_norm` of rows of which nothing is known but that their numbers are in the policy's range.

    Shapes: x [..., n], gain and offset [n] -> [..., n]. The variance plus epsilon is at least 2^-20 (below, the result
    is smaller than it should be).
    Error, with s the standard deviation and d = |x - mean|, for gains of magnitude one:
    1.5 (2^-16 + |mean| 2^-21) / s + 2^-18 d + 4e-5 d / s + 2^-15, without the term of |mean| where s is less than that.
    So a constant row gives less than 2^-15 / max(2^-10, sqrt(epsilon)), and not zero. Reveals nothing.
    """
    # Numbers of the whole range are up to 2^14 apart. Norms do not see a factor, so that half of them will do.
    half = halve(x, 1)
    centred = half - half.sum(-1, keepdim=True) * (1.0 / x.shape[-1])
    if x.shape[-1] & (x.shape[-1] - 1):
        # 1 / n was rounded, by up to 2^-21 of itself, which a constant row would show: the rest is its mean.
        centred = centred - centred.sum(-1, keepdim=True) * (1.0 / x.shape[-1])
    lowest, highest = FULL_POWERS
    return _full_range_normalise(centred, epsilon / 4, (lowest - 2, highest - 2)) * gain + offset


def full_range_rms_norm(x: Secret, gain: Secret, epsilon: float) -> Secret:
    """`rms_norm` of rows of which nothing is known but that their numbers are in the policy's range.

    Shapes: x [..., n], gain [n] or more that broadcasts -> [..., n]. The mean square plus epsilon is at least 2^-20
    (below, the result is smaller than it should be). Error, with s its root, for gains of magnitude one:
    2^-18 |x| + 4e-5 |x| / s + 2^-15. Reveals nothing.
    """
    return _full_range_normalise(x, epsilon, FULL_POWERS) * gain


def _full_range_normalise(x: Secret, epsilon: float, powers: tuple[int, int]) -> Secret:
    """`rms_normalise` for all means of squares from 2^powers[0] to 2^powers[1], whatever the width is."""
    lowest, highest = sums_around(x.shape[-1], powers)
    squares = square_sum(x, fraction_bits=min(2 * x.fraction_bits, ring.WORD_BITS - 2 - highest))
    squares = squares + x.shape[-1] * epsilon
    return _times_inverse_root(x, squares, (lowest, highest), squares.fraction_bits)


def rms_norm(x: Secret, gain: Secret, epsilon: float, *, powers: tuple[int, int] = SQUARE_POWERS) -> Secret:
    """x / sqrt(mean of x^2 + epsilon) * gain along the last axis.

    Shapes: x [..., n], gain [n] or more that broadcasts -> [..., n]. The mean of squares is in [2^a, 2^b), (a, b) =
    powers (below, the result is smaller than it should be); |gain| sqrt(n) < 2^12.
    Error, with s its root, for gains of magnitude one: 2^-17 |x| + 4e-5 |x| / s + 2^-16. Reveals nothing.
    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """
    width = x.shape[-1]
    squares = square_sum(x) + width * epsilon
    lowest, highest = sum_powers(width, powers)
    inverse = piecewise(squares, inverse_root_function(width, lowest, highest, _INVERSE_BITS))
    return multiply_three(x, inverse, gain)


def rms_normalise(x: Secret, epsilon: float, *, powers: tuple[int, int] = SQUARE_POWERS, wide: bool = False) -> Secret:
    """x / sqrt(mean of x^2 + epsilon) along the last axis. For x whose mean is zero this is layer norm, too.

    Shapes: [..., n] -> the same. The mean of squares is in [2^a, 2^b), (a, b) = powers (below, the result is smaller
    than it should be), and their sum below 2^30. Error: with s its root, 2^-17 |x| + 4e-5 |x| / s + 2^-16.
    Reveals nothing.
    wide: whatever multiplies next opens the result anew, as `linear` does with the same word. Then its own ring may be
    small, which saves a round.
    The gain that follows is left to whatever multiplies next: the product then serves there without an opening.
    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """
    width = x.shape[-1]
    squares = square_sum(x) + width * epsilon
    lowest, highest = sum_powers(width, powers, squares.fraction_bits)
    if not wide:
        inverse = piecewise(squares, inverse_root_function(width, lowest, highest, _INVERSE_BITS))
        return multiply(x, inverse, fraction_bits=x.fraction_bits)
    return _times_inverse_root(x, squares, (lowest, highest), max(squares.fraction_bits, _SQUARE_BITS))


def _times_inverse_root(x: Secret, squares: Secret, powers: tuple[int, int], input_bits: int) -> Secret:
    """x / sqrt(squares / n), the sum of squares being from 2^powers[0] to 2^powers[1], with up to input_bits.

    There is room for an inverse that was not truncated, as an entry is at most sqrt(n).
    """
    width = x.shape[-1]
    value_bits = math.floor(math.log2(_SLACK * math.sqrt(width))) + 1
    fine_bits = min(ring.WORD_BITS - 2 - value_bits - x.fraction_bits, MOST_FINE_BITS)
    inverse = piecewise(squares, fine_inverse_root(width, *powers, fine_bits, input_bits=input_bits))
    return multiply(x, inverse, fraction_bits=x.protocol.policy.fraction_bits, value_bits=value_bits)


def l2_normalise(x: Secret) -> Secret:
    """x / |x| along the last axis, for 2^-4 <= |x| < 2^8. Shapes: [..., n] -> [..., n].

    Error: 4e-5 of each entry, 2^-22 |x| of rounding in the inverse, and one unit. Reveals nothing.
    """
    inverse = piecewise(square_sum(x), inverse_root_function(1, -8, 16, _NORM_BITS))
    return multiply(x, inverse, fraction_bits=x.fraction_bits)
