"""The conformance table: every op with its shapes, its declared range and its declared error. An op is one row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.primitives import (
    append,
    as_factor,
    checked_one_hot,
    concatenate,
    convolve,
    halve,
    linear,
    multiply_public,
    multiply_weight,
    square_sum,
    truncate,
)
from secure.protocols.core.secret import Secret, multiply
from secure.protocols.core.windows import Window
from secure.protocols.functions import (
    argmax,
    bits,
    compare,
    elu,
    embedding,
    exp,
    gelu,
    layernorm,
    puma,
    reciprocal_and_root,
    relu,
    rotary,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from secure.protocols.functions.modules import division, exponential, logarithm, softplus, unit_rows
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.largest import largest_of_few
from secure.protocols.masked.gates.piecewise import piecewise
from secure.protocols.masked.gates.triple_product import multiply_three
from tests.protocols.arguments import (
    LARGEST,
    ULP,
    Argument,
    around,
    one_hot,
    one_hots,
    product_below,
    rows_of_norm,
    rows_of_spread,
    with_mask,
    zero_mean_rows,
)
from tests.protocols.ops import DOUBLE, TRUNCATION, Op, as_declared, at_most, exactly, float_sum, one_unit, scaled

# -- shapes: of one argument, of two that broadcast, of matrices; the long ones have room for every edge

_LONG = 613
ONE = (((1,),), ((5,),), ((3, 7),), ((2, 3, 5),), ((_LONG,),))
TWO = (((1,), (1,)), ((5,), (5,)), ((3, 7), (7,)), ((2, 3, 5), (3, 1)), ((1, 5), (4, 1)), ((_LONG,), (_LONG,)))
VECTORS = tuple(shapes for shapes in TWO if len(shapes[1]) == 1)
SAME = (((1,), (1,)), ((3, 7), (3, 7)), ((_LONG,), (_LONG,)))
THREE = tuple((x, y, z) for x, y, z in (((1,),) * 3, ((3, 7), (3, 1), (7,)), ((2, 3, 5), (5,), (1,)), ((_LONG,),) * 3))
ROWS = (((1, 1),), ((1, 5),), ((3, 7),), ((2, 3, 9),), ((4, 1),), ((2, 2, 4, 8),))
FEW = (((1, 2),), ((5, 3),), ((257, 4),), ((2, 3, 2, 4),))
MASKED_ROWS = (((1, 1), (1, 1)), ((3, 7), (3, 7)), ((2, 3, 9), (2, 1, 9)), ((2, 2, 4, 8), (2, 1, 1, 8)))
MATRICES = (((1, 1), (1, 1)), ((1, 5), (5, 3)), ((3, 7), (7, 9)), ((2, 3, 9), (9, 5)))
BATCHED = (*MATRICES, ((2, 3, 5), (2, 5, 4)), ((2, 1, 3, 5), (2, 5, 3)))
WITH_BIAS = tuple((x, w, (w[-1],)) for x, w in MATRICES)
IMAGES = (((1, 1, 2, 2), (4, 1), (1,)), ((2, 3, 5, 4), (12, 5), (5,)))
WITH_RESIDUAL = tuple((x, w, (w[-1],), (*x[:-1], w[-1])) for x, w in MATRICES)
ADDED_PRODUCT = tuple((x, w, b, r, b, (*x[:-1], 1)) for x, w, b, r in WITH_RESIDUAL)
APPENDED = (((1, 1), (1, 2), (1, 3)), ((3, 7), (7, 4), (7, 1)), ((2, 3, 5), (2, 5, 4), (2, 5, 2)))
ONE_HOTS = (((1, 1), (1, 1)), ((3, 7), (3, 2)), ((2, 3, 9), (2, 3, 1)))
NORM_ROWS = (((1, 5),), ((5, 64),), ((2, 3, 384),), ((40, 7),))
NORMALISED = tuple((x, (x[-1],), (x[-1],)) for x in ((1, 5), (5, 64), (2, 3, 384), (4, 1), (7, 33)))

# -- ranges

ANY = Argument(-LARGEST, LARGEST, (0.0, ULP, -ULP, LARGEST, -LARGEST, 1.0, -1.0))
HALF = Argument(-4095.0, 4095.0, (0.0, ULP, -ULP, 4095.0, -4095.0, 4095.0, -4095.0, 1.0))
TIES = Argument(-LARGEST, LARGEST, (0.0, 0.0, ULP, -ULP, LARGEST, -LARGEST, -LARGEST, LARGEST, *(7.0,) * 16))
OTHER = Argument(-LARGEST, LARGEST, (0.0, 0.0, ULP, -LARGEST, LARGEST, -LARGEST, LARGEST, 1.0 - ULP))
OTHER_HALF = Argument(-4095.0, 4095.0, (0.0, 0.0, ULP, 4095.0, -4095.0, -4095.0, 4095.0, 1.0 - ULP))
FINE_HALF = Argument(-4095.0, 4095.0, (0.0, 2.0**-22, 4095.0, -4095.0), fraction_bits=22)
# Products: the edges meet pairwise, all others stay below 90 * 90 < 2^13.
LEFT = Argument(-90.0, 90.0, (0.0, ULP, -ULP, 90.0, -90.0, ULP, 1.0, -1.0))
RIGHT = Argument(-90.0, 90.0, (90.0, 90.0, 90.0, -90.0, -90.0, ULP, ULP, ULP))
LARGE = Argument(-LARGEST, LARGEST, (LARGEST, -LARGEST, LARGEST, 0.0, 1.0 - ULP, ULP))
UNIT = Argument(-1.0, 1.0, (1.0, 1.0, -1.0, 1.0, 1.0 - ULP, -ULP))
THIRD = Argument(-15.9, 15.9, (15.9, -15.9, ULP, 0.0))
WEIGHT = Argument(-2.0, 2.0, (0.0, ULP, -ULP, 2.0, -2.0), "weight")
BIAS = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "bias")
PUBLIC_WEIGHT = Argument(-2.0, 2.0, (0.0, ULP, -ULP, 2.0, -2.0), "public")
PUBLIC_BIAS = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "public")
SERVER_WEIGHT = Argument(-2.0, 2.0, (0.0, ULP, -ULP, 2.0, -2.0), "server weight")
SERVER_BIAS = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "server bias")
SERVER_GAIN = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "server gain")
BOUND_PUBLIC = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "bound public")
INDEX = Argument(0.0, 8.0, (0.0, 8.0, 1.0, -1.0, 9.0), fraction_bits=0)
ONE_HOT = Argument(0.0, 1.0, fraction_bits=0)
TABLE = Argument(-LARGEST, LARGEST, (LARGEST, -LARGEST), "table")
LOGIT = Argument(-8000.0, 8000.0, (0.0, ULP, -ULP, *around(-8.0, 8.0), 8000.0, -8000.0))
SERVER_TABLE = Argument(-LARGEST, LARGEST, (LARGEST, -LARGEST), "server table")
SCORES = Argument(-1800.0, 1800.0, (1800.0, -1800.0, 0.0, 1800.0, 1800.0 - ULP))
ANY_SCORES = Argument(-8191.0, 8191.0, (8191.0, -8191.0, 0.0, 8191.0, 8191.0 - ULP))
MILD_SCORES = Argument(-20.0, 20.0, (0.0, 16.0, -16.0, 0.0, ULP))
MASK = Argument(softmax.MASKED, 0.0)
ROTATED = Argument(-3033.0, 3033.0, (3033.0, -3033.0, ULP, 0.0))
MILD_MASKED = (MILD_SCORES, MASK)
# Zero is where 2^(-u) is one; from 16 on it is zero.
EXPONENT_EDGES = (
    0.0,
    ULP,
    *around(1.0, 15.0, 15.25, 15.5, 15.75, 16.0, 32.0),
    *(16.0 - i * ULP for i in range(2, 20)),
    16.1,
    4096.0,
    8191.0,
)
EXPONENT = Argument(0.0, LARGEST, EXPONENT_EDGES)
# A truncation may leave a number one unit below what it was.
SMALL_EXPONENT = Argument(ULP - 0.25, 17.0, (ULP - 0.25, -ULP, *EXPONENT_EDGES[:-2]))
FAR_EXPONENT = Argument(0.0, 2.0**14 - 1 - ULP, (2.0**14 - 1 - ULP, 2.0**14 - 2, 2.0**13))
POWER_OF_E = Argument(-8000.0, 9.0, (9.0, 9.0 - ULP, 0.0, ULP, -ULP, *around(-11.2), 4.5, -5.0, -8000.0))
DIVIDEND = Argument(-127.0, 127.0, (127.0, -127.0, 0.0, ULP, 127.0, -127.0))
DIVISOR = Argument(2.0**-6, LARGEST, (2.0**-6, 2.0**-6, LARGEST, LARGEST, LARGEST, 1.0))
EXPONENT_E = Argument(0.0, 5677.0, (0.0, ULP, *around(1.0, 11.09), 5677.0))
PIECES = Argument(-9.0, 5.0, (*around(-8.0, -4.0, -1.95, 3.0, 4.0), 0.0))  # where PUMA's polynomials change
LAYER_NORM = (ANY, Argument(-1.0, 1.0, (1.0, -1.0)), Argument(-90.0, 90.0))
SUMS = reciprocal_and_root.inverse_root_function(384, -12, 20, 17)  # as layer normalisation of width 384 uses it


def _argument_of(function: Piecewise, fraction_bits: int = 16, largest: float = LARGEST) -> Argument:
    """The domain of a Piecewise: its ends, every threshold and its neighbours."""
    unit = 2.0**-fraction_bits
    low, high = function.domain[0], min(function.domain[1], largest)
    inner = around(*function.thresholds, 0.0, unit=unit)
    edges = (low, low + unit, high - unit, high, *(e for e in inner if low <= e <= high))
    return Argument(low, high, edges, fraction_bits=fraction_bits)


def _elementwise(function: Piecewise, apply: Callable[[Secret], Secret]) -> Op:
    return Op(function.name, apply, (_argument_of(function),), ONE, as_declared(function))


_FEW = ("share", "pair31")  # for ops that are built of others
_WHOLE = ("share", "share32", "pair48")  # for ranges beyond the policy's


def _to_22_bits(x: Secret, y: Secret) -> Secret:
    return multiply(x, y, fraction_bits=22)


def _add_column(x: Secret) -> Secret:
    return x + torch.tensor([[-2.5], [1.0]], dtype=torch.float64)


def _reshaped(x: Secret) -> Secret:
    return x.transpose(-1, -2).unsqueeze(0)[..., 1:].expand(3, -1, -1).reshape(-1, 2)


def _layer_norm(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.layer_norm(x, gain, offset, 1e-12)


def _full_range_norm(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.full_range_layer_norm(x, gain, offset, 1e-12)


def _puma_layer_norm(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return puma.layer_norm(x, gain, offset, 1e-12)


def _linear(x: Secret, weight: Secret, bias: Secret | None = None) -> Secret:
    return linear(x, weight, bias)


def _convolved(x: Secret, weight: Secret, bias: Secret) -> Secret:
    return convolve(x, weight, bias, Window((2, 2), (2, 1), (0, 1), (1, 1)))


def _checked(words: Secret, types: Secret) -> Secret:
    both = concatenate(words, [types], -1)
    return checked_one_hot(both, (words.shape[-1], types.shape[-1]))


def _times_factors(x: Secret) -> Secret:
    return multiply_public(x, torch.tensor([[2.7], [-1 / 384], [0.0]], dtype=torch.float64))


def _public_factor(reference: Tensor, x: Tensor) -> Tensor:
    # The factor is rounded to 16 fraction bits; nothing is truncated.
    return x.abs() * 2.0**-17 + DOUBLE


def _rotate(x: Secret) -> Secret:
    frequencies = torch.tensor([1.0, 0.1, 0.01])
    return rotary.rotate(x, *rotary.rotations(torch.arange(1000, 1000 + x.shape[-2]), frequencies, 1.2))


def _rotated(reference: Tensor, x: Tensor) -> Tensor:
    # Cosine and sine are rounded to 16 fraction bits; then one truncation.
    return (x.abs() + x.roll(x.shape[-1] // 2, -1).abs()) * 2.0**-17 + TRUNCATION


def _untruncated(x: Secret, weight: Secret, bias: Secret | None = None) -> Secret:
    return linear(x, weight, bias, truncated=False)


def _halved(x: Secret) -> Secret:
    return halve(x, 5)


def _weighed(x: Secret, weight: Any) -> Secret:
    return multiply_weight(x, weight)


def _added_to(x: Secret, weight: Any, bias: Any, residual: Secret) -> Secret:
    return linear(x, weight, bias, residual=residual)


def _added_untruncated(x: Secret, weight: Any, bias: Any, residual: Secret) -> Secret:
    return linear(x, weight, bias, residual=residual, truncated=False)


def _added_product(x: Secret, weight: Any, bias: Any, y: Secret, gain: Any, mean: Secret) -> Secret:
    """As an encoder's layers add to the residual stream."""
    residual = multiply_weight(y, gain) - _halved(mean)
    return linear(x, weight, bias, residual=residual)


def _summed_factor(x: Secret, y: Secret) -> Secret:
    """A sum and a product of what was opened once."""
    factor = as_factor(x)
    return factor @ y + factor.sum(-1, keepdim=True)


def _append(x: Secret, y: Secret) -> Secret:
    return append(y, append(x, None, -1), -1)


def _appended_factor(x: Secret, y: Secret, z: Secret) -> Secret:
    """A product with what was kept, which then is kept on and multiplied again."""
    kept = append(y, None, -1)
    first = x @ kept
    return concatenate(first, [x @ append(z, kept, -1)], -1)


def _rounded_squares(reference: Tensor, x: Tensor) -> Tensor:
    # All squares are rounded to 28 fraction bits, once.
    return float_sum(reference, x) + 2.0**-28


def _full_range_rms(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.full_range_rms_norm(x, gain, 1e-12) + offset


def _rms(x: Secret) -> Secret:
    return layernorm.rms_normalise(x, 1e-12)


def _wide_rms(x: Secret) -> Secret:
    return layernorm.rms_normalise(x, 1e-12, wide=True)


def _encoder_rms(x: Secret) -> Secret:
    return layernorm.rms_normalise(x, 1e-12, powers=layernorm.VARIANCE_POWERS, wide=True)


def _zero_mean(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.layer_norm(x, gain, offset, 1e-12, zero_mean=True)


def _rms_norm(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.rms_norm(x, gain, 1e-12) + offset


def _join(x: Secret, y: Secret) -> Secret:
    return concatenate(x, [y], -1)


def _product(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def _unit(reference: Tensor, x: Tensor) -> Tensor:
    return 2.0**-13 * reference.abs() + x.norm(dim=-1, keepdim=True) * 2.0**-27 + 2 * TRUNCATION


def _power_of_e(reference: Tensor, x: Tensor) -> Tensor:
    return 4e-5 * reference + 5e-5


def _quotient(reference: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 6e-5 * reference.abs() + x.abs() * 2.0**-27 + 2 * TRUNCATION


def _l2(reference: Tensor, x: Tensor) -> Tensor:
    # x times the inverse norm, whose error its Piecewise declares; then one truncation.
    inverse = reciprocal_and_root.inverse_root_function(1, -8, 16, 22)
    return x.abs() * inverse.max_error + inverse.relative_error * reference.abs() + TRUNCATION


def _rooted(reference: Tensor, x: Tensor) -> Tensor:
    # x times the inverse root, whose error its Piecewise declares; then one truncation.
    width = x.shape[-1]
    lowest = -14 + math.floor(math.log2(width))
    inverse = reciprocal_and_root.inverse_root_function(width, lowest, lowest + 32, 17)
    return x.abs() * inverse.max_error + inverse.relative_error * reference.abs() + TRUNCATION


def _finely_rooted(reference: Tensor, x: Tensor) -> Tensor:
    # Here the inverse root is not rounded itself.
    return x.abs() * 2.0**-19 + 4e-5 * reference.abs() + TRUNCATION


def _normalised(reference: Tensor, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    # The mean is off by one unit and by 2^-21 of itself; the inverse deviation, with 17 fraction bits, by one of its
    # units and by what its Piecewise declares relative to it; then one truncation.
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, correction=0, keepdim=True)
    centred, inverse = (x - mean).abs(), 1 / deviation.clamp(min=2.0**-10)
    return (
        (TRUNCATION + mean.abs() * 2.0**-21) * inverse * 1.5
        + centred * 2.0**-17
        + centred * inverse * 4e-5
        + TRUNCATION
    )


def _normalised_at_once(reference: Tensor, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    # As the other, without the error of the mean.
    inverse = 1 / (x**2).mean(-1, keepdim=True).sqrt().clamp(min=2.0**-10)
    return x.abs() * 2.0**-17 + x.abs() * inverse * 4e-5 + TRUNCATION


def _rooted_twice(reference: Tensor, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    # There is one more truncation, before the gain.
    return _normalised_at_once(reference, x, gain, offset) + TRUNCATION * gain.abs()


def _twice_normalised(reference: Tensor, x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    # The inverse has one fraction bit less, and there is one more truncation, before the gain.
    return 2 * _normalised(reference, x, gain, offset) + TRUNCATION * (1 + gain.abs())


def _softmax_base_two(x: Secret) -> Secret:
    return softmax.softmax(x, base_two=True)


def _puma_softmax_base_two(x: Secret) -> Secret:
    return puma.softmax(x, base_two=True)


def _exp2(u: Secret) -> Secret:
    return exp2_negative(u)


OPS: tuple[Op, ...] = (
    # local
    Op("add", lambda x, y: x + y, (HALF, OTHER_HALF), TWO, exactly),
    Op("subtract", lambda x, y: x - y, (HALF, OTHER_HALF), TWO, exactly),
    Op("add-number", lambda x: 1.5 - x + 0.25, (HALF,), ONE, exactly),
    Op("add-public", _add_column, (HALF,), (((1,),), ((5,),), ((2, 7),), ((3, 2, 5),)), exactly),
    Op("add-other-scale", lambda x, y: x + y, (HALF, FINE_HALF), SAME, exactly),
    Op("halved", _halved, (ANY,), ONE, exactly),
    Op("halved-and-added", lambda x, y: _halved(x) + y, (HALF, OTHER_HALF), TWO, exactly),
    Op("negate", lambda x: -x, (ANY,), ONE, exactly),
    Op("views", _reshaped, (ANY,), (((3, 4),), ((3, 5),)), exactly),
    Op("sum", lambda x: x.sum(-1), (Argument(-80.0, 80.0, (80.0,) * 5),), (*ROWS, ((3, 100),)), exactly),
    Op("sum-kept", lambda x: x.sum(0, keepdim=True), (Argument(-80.0, 80.0),), ONE[1:4], exactly),
    Op("concatenate", _join, (ANY, ANY), SAME, exactly),
    Op("concatenate-other-scale", _join, (HALF, FINE_HALF), SAME, exactly),
    # products with public factors
    Op("scale-integer", lambda x: x * -3, (Argument(-2730.0, 2730.0, (2730.0, -2730.0)),), ONE, exactly),
    Op("scale-up", lambda x: x * 2.7, (Argument(-3033.0, 3033.0, (3033.0, -3033.0)),), ONE, scaled),
    Op("scale-down", lambda x: x * (-1 / 384), (ANY,), ONE, scaled),
    Op("scale-far-down", lambda x: x * 1e-6, (ANY,), ONE, scaled),
    Op("multiply-public-factor", _times_factors, (ROTATED,), (((1, 1),), ((3, 7),), ((2, 3, 5),)), _public_factor),
    Op("rotate", _rotate, (ROTATED,), (((1, 6),), ((7, 6),), ((2, 3, 5, 6),)), _rotated),
    Op("truncate", lambda x: truncate(x, 12), (ANY,), ONE, at_most(2.0**-12)),
    # products of secrets
    Op("multiply", lambda x, y: x * y, (LEFT, RIGHT), TWO, one_unit, product_below(LARGEST, _product, LEFT, RIGHT)),
    Op("multiply-large", lambda x, y: x * y, (LARGE, UNIT), TWO, one_unit),
    Op("multiply-fine", _to_22_bits, (LEFT, RIGHT), TWO, at_most(2.0**-22 + 2.0**-40)),
    Op("multiply-server", lambda x, y: x * y, (LEFT, SERVER_GAIN), VECTORS, one_unit),
    Op("multiply-public", lambda x, y: x * y, (LEFT, BOUND_PUBLIC), TWO, one_unit),
    Op("multiply-weight", _weighed, (LEFT, WEIGHT), VECTORS, exactly),
    Op("multiply-weight-server", _weighed, (LEFT, SERVER_GAIN), VECTORS, exactly),
    Op("multiply-weight-public", _weighed, (LEFT, PUBLIC_WEIGHT), VECTORS, exactly),
    Op("square", lambda x: x * x, (Argument(-90.5, 90.5, (0.0, ULP, -ULP, 90.5, -90.5)),), ONE, one_unit),
    Op("square-sum", lambda x: square_sum(x), (Argument(-4095.0, 4095.0, (4095.0,) * 9),), ROWS, float_sum),
    Op(
        "square-sum-rounded",
        lambda x: square_sum(x, fraction_bits=28),
        (Argument(-4095.0, 4095.0, (4095.0,) * 9),),
        ROWS,
        _rounded_squares,
    ),
    Op("multiply-three", lambda x, y, z: multiply_three(x, y, z), (THIRD, THIRD, THIRD), THREE, one_unit),
    Op(
        "matmul",
        lambda x, y: x @ y,
        (LEFT, RIGHT),
        BATCHED,
        one_unit,
        product_below(LARGEST, torch.matmul, LEFT, RIGHT),
    ),
    Op("linear", _linear, (LEFT, WEIGHT, BIAS), WITH_BIAS, one_unit),
    Op("linear-no-bias", _linear, (LEFT, WEIGHT), MATRICES, one_unit),
    Op("linear-server", _linear, (LEFT, SERVER_WEIGHT, SERVER_BIAS), WITH_BIAS, one_unit),
    Op("linear-server-no-bias", _linear, (LEFT, SERVER_WEIGHT), MATRICES, one_unit),
    Op("linear-public", _linear, (LEFT, PUBLIC_WEIGHT, PUBLIC_BIAS), WITH_BIAS, one_unit),
    Op("convolve", _convolved, (LEFT, WEIGHT, BIAS), IMAGES, one_unit),
    Op("convolve-server", _convolved, (LEFT, SERVER_WEIGHT, SERVER_BIAS), IMAGES, one_unit),
    Op("convolve-public", _convolved, (LEFT, PUBLIC_WEIGHT, PUBLIC_BIAS), IMAGES, one_unit),
    Op("linear-residual", _added_to, (LEFT, WEIGHT, BIAS, HALF), WITH_RESIDUAL, one_unit),
    Op("linear-residual-server", _added_to, (LEFT, SERVER_WEIGHT, SERVER_BIAS, HALF), WITH_RESIDUAL, one_unit),
    Op("linear-residual-public", _added_to, (LEFT, PUBLIC_WEIGHT, PUBLIC_BIAS, HALF), WITH_RESIDUAL, one_unit),
    Op("linear-residual-fine", _added_to, (LEFT, WEIGHT, BIAS, FINE_HALF), WITH_RESIDUAL, one_unit),
    Op("linear-residual-untruncated", _added_untruncated, (LEFT, WEIGHT, BIAS, HALF), WITH_RESIDUAL, exactly),
    Op("linear-residual-product", _added_product, (LEFT, WEIGHT, BIAS, LEFT, WEIGHT, HALF), ADDED_PRODUCT, one_unit),
    Op(
        "linear-residual-product-server",
        _added_product,
        (LEFT, SERVER_WEIGHT, SERVER_BIAS, LEFT, SERVER_WEIGHT, HALF),
        ADDED_PRODUCT,
        one_unit,
    ),
    Op(
        "linear-residual-product-public",
        _added_product,
        (LEFT, PUBLIC_WEIGHT, PUBLIC_BIAS, LEFT, PUBLIC_WEIGHT, HALF),
        ADDED_PRODUCT,
        one_unit,
    ),
    Op("linear-untruncated", _untruncated, (LEFT, WEIGHT, BIAS), WITH_BIAS, exactly),
    Op("linear-untruncated-server", _untruncated, (LEFT, SERVER_WEIGHT, SERVER_BIAS), WITH_BIAS, exactly),
    Op("linear-untruncated-public", _untruncated, (LEFT, PUBLIC_WEIGHT), MATRICES, exactly),
    Op(
        "as-factor",
        _summed_factor,
        (UNIT, UNIT),
        (((1, 1), (1, 2)), ((3, 7), (7, 4)), ((2, 3, 5), (2, 5, 4))),
        one_unit,
    ),
    Op("append", _append, (ANY, ANY), SAME, exactly),
    Op("append-and-multiply", _appended_factor, (LEFT, UNIT, UNIT), APPENDED, one_unit),
    Op("embedding", embedding.embedding, (ONE_HOT, TABLE), MATRICES, exactly, one_hot(TABLE)),
    Op("embedding-server", embedding.embedding, (ONE_HOT, SERVER_TABLE), MATRICES, exactly, one_hot(SERVER_TABLE)),
    # A client shares them, so no truncation has changed their last bits.
    Op("checked-one-hot", _checked, (ONE_HOT, ONE_HOT), ONE_HOTS, exactly, one_hots, forms=("share", "share32")),
    # comparisons
    Op("less-than-number", lambda x: compare.less_than(x, 0.0), (ANY,), ONE, exactly),
    Op("difference", compare.difference, (ANY, OTHER), TWO, exactly),
    Op("less-than", compare.less_than, (ANY, OTHER), TWO, exactly),
    Op("select", lambda x, y: compare.select(compare.less_than(x, y), x, y), (ANY, OTHER), TWO, exactly),
    Op("to-bits", lambda x: bits.to_bits(x, 31), (ANY,), ONE, exactly),
    Op("low-bits", lambda x: bits.to_bits(x, 5), (ANY,), ONE, exactly),
    Op("one-bit", lambda x: bits.to_bits(x, 1), (ANY,), ONE, exactly),
    Op("fine-bits", lambda x: bits.to_bits(x, 37), (FINE_HALF,), ONE, exactly),
    Op("from-bits", lambda x: bits.from_bits(bits.to_bits(x, 30), 16), (ANY,), ONE, exactly),
    Op("floor", lambda x: bits.from_bits(bits.to_bits(x, 30)[..., 16:], 0), (HALF,), ONE, exactly),
    Op("equal", compare.equal, (ANY, OTHER), TWO, exactly),
    Op("equal-number", lambda x: compare.equal(x, 1.0), (ANY,), ONE, exactly),
    Op("one-hot", lambda index: embedding.one_hot(index, 9), (INDEX,), (((1,),), ((11,),), ((2, 5),)), exactly),
    Op("maximum", relu.maximum, (ANY, OTHER), TWO, exactly),
    Op("maximum-along", argmax.maximum_along, (ANY,), (*ROWS, ((3, 131),), ((130, 64),)), exactly),
    Op("largest", lambda x: largest_of_few(x), (TIES,), FEW, exactly),
    Op("argmax", argmax.argmax, (ANY,), ROWS, exactly),
    _elementwise(relu.relu_function(16), relu.relu),
    # PUMA's own formulas, against themselves on plain floats: what is left is rounding
    Op("puma-gelu", puma.gelu, (HALF,), ONE, at_most(1e-4), forms=_FEW),
    Op("puma-gelu-pieces", puma.gelu, (PIECES,), ONE, at_most(1e-4), forms=_FEW),
    Op("puma-silu", puma.silu, (HALF,), ONE, at_most(2e-4), forms=_FEW),
    Op("puma-silu-pieces", puma.silu, (PIECES,), ONE, at_most(2e-4), forms=_FEW),
    # A unit of the base is 32 of the power, and one of each square 16 down to one: at the most 63, and its own.
    Op("puma-exp", puma.exp_negative, (EXPONENT_E,), ONE, at_most(64 * ULP), forms=_FEW),
    Op("puma-softmax", puma.softmax, (MILD_SCORES,), ROWS, at_most(2e-3), forms=_FEW),
    Op("puma-softmax-base-two", _puma_softmax_base_two, (MILD_SCORES,), ROWS, at_most(2e-3), forms=_FEW),
    Op("puma-softmax-masked", puma.softmax, MILD_MASKED, MASKED_ROWS, at_most(2e-3), with_mask(MILD_SCORES), _FEW),
    Op(
        "puma-layer-norm",
        _puma_layer_norm,
        LAYER_NORM,
        NORMALISED,
        _twice_normalised,
        rows_of_spread(-5.0, 6.0, LAYER_NORM),
        _FEW,
    ),
    # functions of one variable
    _elementwise(gelu.GELU, gelu.gelu),
    _elementwise(gelu.GELU_TANH, gelu.gelu_tanh),
    _elementwise(silu.SILU, silu.silu),
    _elementwise(tanh.TANH, tanh.tanh),
    _elementwise(elu.ELU, elu.elu),
    _elementwise(softplus.SOFTPLUS, softplus.softplus),
    Op("exp", exponential.exponential, (POWER_OF_E,), ONE, _power_of_e, forms=_FEW),
    Op("divide", division.divide, (DIVIDEND, DIVISOR), TWO, _quotient, forms=_FEW),
    Op("sigmoid", sigmoid.sigmoid, (LOGIT,), ONE, at_most(5e-4)),
    _elementwise(reciprocal_and_root.reciprocal_function(-4, 13), reciprocal_and_root.reciprocal),
    _elementwise(reciprocal_and_root.inverse_root_function(1, -8, 13), reciprocal_and_root.rsqrt),
    Op(
        "rsqrt-of-sums",
        lambda x: piecewise(x, SUMS),
        (_argument_of(SUMS, 32, SUMS.domain[1]),),
        ONE,
        as_declared(SUMS),
        forms=("share",),
    ),
    Op("exp2-negative", _exp2, (EXPONENT,), ONE, at_most(5e-5)),
    Op("exp2-negative-small", _exp2, (SMALL_EXPONENT,), ONE, at_most(5e-5)),
    Op("exp2-negative-far", _exp2, (FAR_EXPONENT,), ONE, at_most(5e-5), forms=_WHOLE),
    Op("exp-negative", exp.exp_negative, (EXPONENT_E,), ONE, at_most(1e-4)),
    # rows
    Op("softmax", softmax.softmax, (ANY_SCORES,), ROWS, at_most(2e-4), forms=_FEW),
    Op("log-softmax", logarithm.log_softmax, (HALF,), ROWS, at_most(1e-4), forms=_FEW),
    Op("softmax-mild", softmax.softmax, (MILD_SCORES,), ROWS, at_most(2e-4), forms=_FEW),
    Op("softmax-masked", softmax.softmax, (SCORES, MASK), MASKED_ROWS, at_most(2e-4), with_mask(SCORES), _FEW),
    Op("softmax-masked-mild", softmax.softmax, MILD_MASKED, MASKED_ROWS, at_most(2e-4), with_mask(MILD_SCORES), _FEW),
    Op("softmax-base-two", _softmax_base_two, (ANY_SCORES,), ROWS, at_most(2e-4), forms=_FEW),
    Op("layer-norm", _layer_norm, LAYER_NORM, NORMALISED, _normalised, rows_of_spread(-10.0, 6.0, LAYER_NORM), _FEW),
    Op(
        "layer-norm-full-range",
        _full_range_norm,
        LAYER_NORM,
        NORMALISED,
        _twice_normalised,
        rows_of_spread(-10.0, 10.5, LAYER_NORM),
        _FEW,
    ),
    Op(
        "layer-norm-zero-mean",
        _zero_mean,
        LAYER_NORM,
        NORMALISED,
        _normalised_at_once,
        zero_mean_rows(-10.0, 6.0, LAYER_NORM),
        _FEW,
    ),
    Op(
        "rms-norm",
        _rms_norm,
        LAYER_NORM,
        NORMALISED,
        _normalised_at_once,
        zero_mean_rows(-6.0, 8.0, LAYER_NORM),
        _FEW,
    ),
    Op(
        "rms-norm-full-range",
        _full_range_rms,
        LAYER_NORM,
        NORMALISED,
        _rooted_twice,
        zero_mean_rows(-9.9, 10.5, LAYER_NORM),
        _FEW,
    ),
    Op("rms-normalise", _rms, (ANY,), NORM_ROWS, _rooted, rows_of_norm(-3.0, 10.0), _FEW),
    Op("rms-normalise-wide", _wide_rms, (ANY,), NORM_ROWS, _finely_rooted, rows_of_norm(-3.0, 10.0), _FEW),
    Op("rms-normalise-encoder", _encoder_rms, (ANY,), NORM_ROWS, _finely_rooted, rows_of_norm(-8.0, 7.0), _FEW),
    Op("unit-rows", unit_rows.unit_rows, (ANY,), NORM_ROWS, _unit, rows_of_norm(-5.9, 12.9), _FEW),
    Op("l2-normalise", layernorm.l2_normalise, (ANY,), NORM_ROWS, _l2, rows_of_norm(-4.0, 8.0), _FEW),
)
