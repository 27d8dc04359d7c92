"""What models' layers compute with, over all numbers that they promise, on adversarial rows: in every family.

Beside `tests/protocols/functions/test_whole_range.py`: norms as models call them, attention, rotary positions, scales
of embeddings, activations by config.json's names, and PUMA's functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.attention import MOST_VALUE, mixture
from secure.models.layers.folding import scaled_down
from secure.protocols.core.secret import Secret
from secure.protocols.functions import layernorm, puma, rotary
from tests.families import FAMILIES
from tests.in_process import secure
from tests.protocols.adversarial import rows
from tests.protocols.arguments import LARGEST, ULP
from tests.sampling import product_of

EPSILON = 1e-5
BY_NAME = {family.name: family for family in FAMILIES}


@dataclass(frozen=True)
class Case:
    """A function of rows, what torch computes, and the declared error. most: the largest number of rows that long."""

    function: Callable[[Secret], Secret]
    due: Callable[[Tensor], Tensor]
    error: Callable[[Tensor], Tensor] | float
    most: Callable[[int], float] = lambda width: LARGEST
    least_square: float = 0.0


def root(x: Tensor) -> Tensor:
    return (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()


def rooted_error(x: Tensor) -> Tensor:
    return x.abs() * 2.0**-17 + 4e-5 * x.abs() / root(x) + ULP


def summed(width: int) -> float:
    """What numbers in both directions may be where their squares add up to less than 2^30, and their mean to 2^18."""
    return min(LARGEST, 0.99 * 2.0**15 / math.sqrt(width), 0.99 * 2.0**9)


def encoded(x: Secret) -> Secret:
    return layernorm.rms_normalise(x, EPSILON, powers=layernorm.VARIANCE_POWERS, wide=True)


def rotated(x: Secret) -> Secret:
    return rotary.rotate(x, *rotary.rotations(torch.tensor([7]), frequencies(x.shape[-1]), 1.0))


def frequencies(width: int) -> Tensor:
    return 1.0 / (torch.arange(width // 2) + 1.0)


def rotation_due(x: Tensor) -> Tensor:
    angles = (7.0 * frequencies(x.shape[-1]).double()).repeat(2)
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * angles.cos() + turned * angles.sin()


def values_of(width: int) -> Tensor:
    """Values of attention at their bound: coherent, and alternating."""
    alternating = MOST_VALUE * (1 - 2 * (torch.arange(width, dtype=torch.float64) % 2))
    return torch.stack([torch.full_like(alternating, MOST_VALUE - ULP), alternating * (1 - ULP)], -1)


def mixed(x: Secret) -> Secret:
    """x as scores of one query; values are public here and added to a secret zero."""
    zeros = (x[:1] - x[:1]).unsqueeze(-1).expand(1, x.shape[-1], 2)
    return mixture(x.unsqueeze(-2), (zeros + values_of(x.shape[-1])).expand(x.shape[0], x.shape[-1], 2)).squeeze(-2)


def soft(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


CASES = {
    **{
        name: Case(
            ACTIVATIONS[name],
            lambda x, name=name: {
                "gelu": functional.gelu,
                "gelu_new": lambda t: functional.gelu(t, approximate="tanh"),
                "relu": torch.relu,
                "silu": functional.silu,
            }[name](x),
            {"gelu": 4e-4, "gelu_new": 4e-4, "relu": 0.0, "silu": 1e-3}[name],
            most=lambda width: 8187.0,
        )
        for name in ("gelu", "gelu_new", "relu", "silu")
    },
    "norm": Case(lambda x: layernorm.rms_normalise(x, EPSILON), lambda x: x / root(x), rooted_error, summed, 2.0**-14),
    "wide norm": Case(
        lambda x: layernorm.rms_normalise(x, EPSILON, wide=True), lambda x: x / root(x), rooted_error, summed, 2.0**-14
    ),
    "encoder's norm": Case(encoded, lambda x: x / root(x), rooted_error, lambda width: 63.9),
    "rotary positions": Case(
        rotated, rotation_due, lambda x: (x.abs().amax(-1, keepdim=True)) * 2.0**-16 + ULP, lambda width: 5790.0
    ),
    "finer embeddings": Case(lambda x: scaled_down(x, 4), lambda x: x / 16, ULP),
    "attention": Case(
        mixed,
        lambda x: torch.softmax(x * math.log(2.0), -1) @ values_of(x.shape[-1]),
        lambda x: torch.tensor((153 * ULP + 1e-4 + 3.1e-5 * (x.shape[-1] - 1)) * MOST_VALUE, dtype=torch.float64),
        lambda width: 8191.0,
    ),
    "PUMA's gelu": Case(puma.gelu, functional.gelu, 2.1e-2, lambda width: 4096.0),
    "PUMA's silu": Case(puma.silu, functional.silu, 7.3e-2, lambda width: 4096.0),
    "PUMA's softmax": Case(puma.softmax, soft, 2e-2, lambda width: 4095.0),
}


@product_of(name=list(CASES), width=[2, 6, 16, 130, 768], family=list(BY_NAME))
def test_adversarial_rows(name: str, width: int, family: str) -> None:
    case = CASES[name]
    x = rows(width, case.most(width))
    x = x[(x.square().mean(-1) + EPSILON >= case.least_square) & (x.abs().amax(-1) <= case.most(width))]
    found = secure(case.function, x, family=BY_NAME[family]).real
    due = case.due(x)
    wrong = (found - due).abs() - (case.error(x) if callable(case.error) else case.error)
    row = int(wrong.reshape(len(x), -1).amax(1).argmax())
    assert float(wrong.max()) <= 0, f"{x[row][:4].tolist()}...: {found[row]}, not {due[row]}"
