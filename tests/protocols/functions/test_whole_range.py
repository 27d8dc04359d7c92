"""Every function over all numbers that the policy promises, on rows that no uniform noise has: in every family.

Results are held against torch's own functions, so that what a function declares is not its own reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from secure.protocols.core.secret import Secret
from secure.protocols.functions import (
    argmax,
    compare,
    elu,
    embedding,
    gelu,
    layernorm,
    relu,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from secure.protocols.functions.modules import unit_rows
from tests.families import FAMILIES
from tests.in_process import Family, secure
from tests.protocols.adversarial import rows
from tests.protocols.arguments import LARGEST, ULP


@dataclass(frozen=True)
class Case:
    """A function of rows, what torch computes, and the declared error. most: the largest number of rows that long."""

    function: Callable[..., Secret]
    due: Callable[[Tensor], Tensor]
    error: Callable[[Tensor], Tensor] | float = 0.0
    parameters: tuple[float, ...] = ()
    most: Callable[[int], float] = lambda width: LARGEST


def flipped(function: Callable[[Secret, Secret], Secret]) -> Callable[[Secret], Secret]:
    """The function of a row and of that row turned round: numbers that alternate are as far apart as can be."""
    return lambda x: function(x, x.map(lambda t: t.flip(-1)))


def layer_norm(x: Secret, gain: Secret, offset: Secret) -> Secret:
    return layernorm.full_range_layer_norm(x, gain, offset, EPSILON)


def normalised_error(x: Tensor) -> Tensor:
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, correction=0, keepdim=True)
    away, inverse = (x - mean).abs(), 1 / (deviation**2 + EPSILON).sqrt()
    of_mean = torch.where(deviation >= mean.abs() * 2.0**-21, mean.abs() * 2.0**-21, 0.0)
    return 1.5 * (ULP + of_mean) * inverse + away * 2.0**-18 + away * inverse * 4e-5 + 2 * ULP


def rms_norm(x: Secret, gain: Secret) -> Secret:
    return layernorm.full_range_rms_norm(x, gain, EPSILON)


def rooted_error(x: Tensor) -> Tensor:
    root = (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()
    return x.abs() * 2.0**-18 + x.abs() / root * 4e-5 + 2 * ULP


def unit(x: Tensor) -> Tensor:
    """Rows shorter than 2^-6 become 64 times as large."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=2.0**-6)


def unit_error(x: Tensor) -> Tensor:
    of_groups = x.shape[-1] * 2.0**-36 / x.square().sum(-1, keepdim=True).clamp(min=2.0**-12)
    return unit(x).abs() * (2.0**-13 + of_groups) + x.abs() * 2.0**-27 + 2 * ULP


def largest_score(width: int) -> float:
    """A maximum is rounded before it is subtracted: that stays in range."""
    return 8191.0


def largest_of_gelu(width: int) -> float:
    return 8187.0


def soft(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


def two_soft(x: Tensor) -> Tensor:
    return torch.softmax(x * math.log(2.0), -1)


def share_error(x: Tensor) -> Tensor:
    return torch.tensor(1e-4 + 3.1e-5 * (x.shape[-1] - 1), dtype=torch.float64)


EPSILON = 1e-5
CASES = {
    "relu": Case(relu.relu, torch.relu),
    "maximum": Case(flipped(relu.maximum), lambda x: torch.maximum(x, x.flip(-1))),
    "maximum of a number": Case(lambda x: relu.maximum(x, 6.0), lambda x: x.clamp(min=6.0)),
    "less than": Case(flipped(compare.less_than), lambda x: (x < x.flip(-1)).double()),
    "equal": Case(flipped(compare.equal), lambda x: (x == x.flip(-1)).double()),
    "select": Case(
        lambda x: flipped(lambda a, b: compare.select(compare.less_than(a, 1.0), a, b))(x),
        lambda x: torch.where(x < 1.0, x, x.flip(-1)),
    ),
    "maximum along": Case(argmax.maximum_along, lambda x: x.amax(-1, keepdim=True)),
    "value at argmax": Case(
        lambda x: (embedding.one_hot(argmax.argmax(x), x.shape[-1]) * x).sum(-1), lambda x: x.amax(-1)
    ),
    "gelu": Case(gelu.gelu, functional.gelu, 4e-4, most=largest_of_gelu),
    "gelu tanh": Case(gelu.gelu_tanh, lambda x: functional.gelu(x, approximate="tanh"), 4e-4, most=largest_of_gelu),
    "silu": Case(silu.silu, functional.silu, 1e-3),
    "elu": Case(elu.elu, functional.elu, 3e-4),
    "tanh": Case(tanh.tanh, torch.tanh, 8e-4),
    "sigmoid": Case(sigmoid.sigmoid, torch.sigmoid, 5e-4),
    "softmax": Case(softmax.softmax, soft, share_error, most=largest_score),
    "softmax base two": Case(lambda x: softmax.softmax(x, base_two=True), two_soft, share_error, most=largest_score),
    "layer norm": Case(
        layer_norm,
        lambda x: functional.layer_norm(x, x.shape[-1:], eps=EPSILON),
        normalised_error,
        (1.0, 0.0),
    ),
    "rms norm": Case(
        rms_norm,
        lambda x: functional.rms_norm(x, x.shape[-1:], eps=EPSILON),
        rooted_error,
        (1.0,),
    ),
    "unit rows": Case(unit_rows.unit_rows, unit, unit_error),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("widths", [(2, 5, 16), pytest.param((33, 768, 4095, 4096), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_adversarial_rows(name: str, widths: tuple[int, ...], family: Family) -> None:
    case = CASES[name]
    for width in widths:
        x = rows(width, case.most(width))
        parameters = [torch.full((width,), number, dtype=torch.float64) for number in case.parameters]
        found = secure(case.function, x, *parameters, family=family).real
        due = case.due(x)
        wrong = (found - due).abs() - (case.error(x) if callable(case.error) else case.error)
        row = int(wrong.reshape(len(x), -1).amax(1).argmax())
        assert float(wrong.max()) <= 0, f"{width} wide, {x[row][:4].tolist()}...: {found[row]}, not {due[row]}"
