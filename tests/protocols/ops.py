"""The conformance table: every op with its shapes, its declared range and its declared error. An op is one row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from protocols.core.fixedpoint import FixedPointPolicy
from protocols.core.piecewise import Piecewise
from protocols.core.secret import Protocol, Secret
from protocols.functions import argmax, compare, embedding, exp, gelu, layernorm, octaves, relu, softmax, tanh
from tests.protocols.arguments import (
    LARGEST,
    ULP,
    Argument,
    Filler,
    Shape,
    around,
    independent,
    on_grid,
    one_hot,
    product_below,
    rows_of_spread,
    scores_and_mask,
)

Bound = Callable[..., Tensor | float]
"""Largest allowed error, from the reference result and the arguments."""

_DOUBLE = 2.0**-40
"""What float64 loses in the reference itself: products of up to 58 bits below 2^13."""


@dataclass(frozen=True)
class Op:
    """One row. Shapes: one tuple of argument shapes per case. `forms`: see `FORMS`."""

    name: str
    function: Callable[..., Secret]
    arguments: tuple[Argument, ...]
    shapes: tuple[tuple[Shape, ...], ...]
    bound: Bound
    filler: Filler | None = None
    forms: tuple[str, ...] = ("share", "share32", "pair48", "pair31", "mixed")

    def fill(self, shapes: tuple[Shape, ...], generator: torch.Generator) -> list[Tensor]:
        return (self.filler or independent(*self.arguments))(shapes, generator)


@dataclass(frozen=True)
class Form:
    """How an argument comes: a share in Z_2^bits, or the pair that a truncation by `shift` bits left."""

    bits: int = 64
    shift: int = 0


FORMS = {"share": Form(), "share32": Form(bits=32), "pair48": Form(shift=16), "pair31": Form(shift=33)}


def form_of(name: str, position: int) -> Form:
    """'mixed' alternates between the two extremes."""
    return FORMS[name] if name in FORMS else FORMS[("pair31", "share")[position % 2]]


def input_scale(argument: Argument, form: Form, policy: FixedPointPolicy) -> int:
    """Fraction bits at which the argument is shared: more than its own where a truncation is to follow.

    After the truncation the ring still holds every value of the policy, a sign and a spare bit.
    """
    if argument.kind != "secret":
        return argument.fraction_bits
    return argument.fraction_bits + min(form.shift, 62 - policy.value_bits - argument.fraction_bits)


def obtain(protocol: Protocol, argument: Argument, share: Tensor | None, values: Tensor, form: Form) -> Any:
    """The argument as the op takes it. The low bits that a truncation drops are zero, so that it adds no error."""
    shape, scale = tuple(values.shape), argument.fraction_bits
    match argument.kind:
        case "secret":
            shared_scale = input_scale(argument, form, protocol.policy)
            bits = max(form.bits, min(64, scale + protocol.policy.value_bits + 3)) if form.bits < 64 else 64
            secret = protocol.input(share, shape, shared_scale, bits)
            return secret if shared_scale == scale else protocol.truncate(secret, scale)
        case "weight":
            return protocol.bind(protocol.prepare(share, shape, scale, opened=True))
        case "bias":
            return protocol.bind(protocol.prepare(share, shape, scale, opened=False))
        case "table":
            return protocol.bind(protocol.prepare(share, shape, scale, bits=32, opened=True))
        case "public" | "bound public":
            number = None if share is None else torch.round(values * 2.0**scale).to(torch.int64)
            prepared = protocol.prepare_public(number, shape, scale)
            return prepared if argument.kind == "public" else protocol.bind(prepared)
    raise AssertionError(argument.kind)


# Bounds. A truncation is the floor or one unit more, so it is off by less than one unit.


def exactly(reference: Tensor, *arguments: Tensor) -> float:
    return 0.0


def one_unit(reference: Tensor, *arguments: Tensor) -> float:
    return ULP + _DOUBLE


def at_most(error: float) -> Bound:
    """The number that the function's docstring declares."""
    return lambda reference, *arguments: error


def as_declared(function: Piecewise) -> Bound:
    return lambda reference, *arguments: function.max_error + function.relative_error * reference.abs()


def _scaled(reference: Tensor, *arguments: Tensor) -> Tensor:
    # A public factor keeps 21 significant bits, rounded; then one truncation.
    return reference.abs() * 2.0**-21 + ULP


def _float_sum(reference: Tensor, *arguments: Tensor) -> Tensor:
    # Nothing is rounded in the ring; the reference is a float64 and so is what it is compared with.
    return reference.abs() * 2.0**-50


def _l2(reference: Tensor, x: Tensor) -> Tensor:
    # x times the inverse norm, whose error its Piecewise declares; then one truncation.
    inverse = octaves.inverse_root_function(1, -8, 16, 22)
    return x.abs() * inverse.max_error + inverse.relative_error * reference.abs() + ULP


# Shapes of one argument, of two that broadcast, of matrices. The long ones have room for every edge.

_LONG = 613
ONE = (((1,),), ((5,),), ((3, 7),), ((2, 3, 5),), ((_LONG,),))
TWO = (((1,), (1,)), ((5,), (5,)), ((3, 7), (7,)), ((2, 3, 5), (3, 1)), ((1, 5), (4, 1)), ((_LONG,), (_LONG,)))
SAME = (((1,), (1,)), ((3, 7), (3, 7)), ((_LONG,), (_LONG,)))
ROWS = (((1, 1),), ((1, 5),), ((3, 7),), ((2, 3, 9),), ((4, 1),), ((2, 2, 4, 8),))
MATRICES = (((1, 1), (1, 1)), ((1, 5), (5, 3)), ((3, 7), (7, 9)), ((2, 3, 9), (9, 5)))
BATCHED = (*MATRICES, ((2, 3, 5), (2, 5, 4)), ((2, 1, 3, 5), (2, 5, 3)))
WITH_BIAS = tuple((x, w, (w[-1],)) for x, w in MATRICES)

# -- ranges --------------------------------------------------------------------------------------------------------

ANY = Argument(-LARGEST, LARGEST, (0.0, ULP, -ULP, LARGEST, -LARGEST, 1.0, -1.0))
HALF = Argument(-4095.0, 4095.0, (0.0, ULP, -ULP, 4095.0, -4095.0, 4095.0, -4095.0))
OTHER_HALF = Argument(-4095.0, 4095.0, (0.0, 0.0, ULP, 4095.0, -4095.0, -4095.0, 4095.0))
# Products: the edges meet pairwise, all others stay below 90^2 < 2^13.
LEFT = Argument(-90.0, 90.0, (0.0, ULP, -ULP, 90.0, -90.0, ULP, 1.0, -1.0))
RIGHT = Argument(-90.0, 90.0, (90.0, 90.0, 90.0, -90.0, -90.0, ULP, ULP, ULP))
LARGE_LEFT = Argument(-LARGEST, LARGEST, (LARGEST, -LARGEST, LARGEST, 0.0, 1.0 - ULP, ULP))
SMALL_RIGHT = Argument(-1.0, 1.0, (1.0, 1.0, -1.0, 1.0, 1.0 - ULP, -ULP))
WEIGHT = Argument(-2.0, 2.0, (0.0, ULP, -ULP, 2.0, -2.0), "weight")
BIAS = Argument(-90.0, 90.0, (0.0, ULP, 90.0, -90.0), "bias")
SCORES = Argument(-2047.0, 2047.0, (2047.0, -2047.0, 0.0, 2047.0, 2047.0 - ULP))
MILD_SCORES = Argument(-20.0, 20.0, (0.0, 16.0, -16.0, 0.0, ULP))
MASK = Argument(softmax.MASKED, 0.0)
SIGNED_DOMAIN = compare.NEGATIVE.domain
COMPARED = Argument(*SIGNED_DOMAIN, (*around(0.0), *SIGNED_DOMAIN, SIGNED_DOMAIN[0] + ULP))
HALVES = Argument(-4095.0, 4095.0, (0.0, ULP, -ULP, 4095.0, -4095.0))


def argument_of(function: Piecewise, fraction_bits: int = 16) -> Argument:
    """The whole domain of a Piecewise: its ends, every threshold and its neighbours."""
    low, high = function.domain
    inner = around(*function.thresholds, 0.0)
    edges = (low, low + ULP, high - ULP, high, *(e for e in inner if low <= e <= high))
    return Argument(low, high, edges, fraction_bits=fraction_bits)


def _elementwise(function: Piecewise, apply: Callable[[Secret], Secret], name: str = "") -> Op:
    return Op(name or function.name, apply, (argument_of(function),), ONE, as_declared(function))


def _gain(shape_free: float) -> Argument:
    return Argument(-shape_free, shape_free, (shape_free, -shape_free))


_LAYER_NORM = (ANY, _gain(1.0), Argument(-90.0, 90.0))
_LAYER_NORM_SHAPES = tuple((x, (x[-1],), (x[-1],)) for x in ((1, 5), (5, 64), (2, 3, 384), (4, 1), (7, 33)))
_SUM_RSQRT = octaves.inverse_root_function(384, -12, 20, 17)


def _multiply_wide(x: Secret, y: Secret) -> Secret:
    return x.protocol.multiply(x, y, fraction_bits=22)


def _mixed(x: Secret, y: Secret) -> Secret:
    return x.protocol.concatenate([x, y], 0)
