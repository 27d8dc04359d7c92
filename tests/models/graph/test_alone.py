"""Every operator as a module of its own, with nothing before it and nothing behind, over the range that it promises.

Rows are those that arithmetic with few bits gets wrong, if any: constant ones, one outlier, alternating signs, the
largest difference, and every element at the end of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from secure.models.contract.manifest import WeightVisibility
from tests.families import FAMILIES
from tests.in_process import Family
from tests.models.graph.test_modules import run
from tests.sampling import sampled

LARGEST = 8191.0
UNIT = 2.0**-16
FLOAT = 2.0**-23  # a client gets float32


def rows(largest: float, lowest: float | None = None, width: int = 8) -> Tensor:
    """Shapes: [9, width]. Numbers from lowest, which is -largest by default, to largest."""
    lowest = -largest if lowest is None else lowest
    middle, alternating = (largest + lowest) / 2, torch.arange(width) % 2
    outlier = torch.full((width,), middle)
    outlier[width // 2] = largest
    low_outlier = torch.full((width,), largest)
    low_outlier[0] = lowest
    ends = torch.where(alternating == 1, largest, lowest)
    return torch.stack(
        [
            torch.full((width,), largest),
            torch.full((width,), lowest),
            torch.full((width,), middle),
            outlier,
            low_outlier,
            ends,
            middle + (ends - middle) / 1000,
            torch.linspace(lowest, largest, width),
            middle
            + torch.randn(width, generator=torch.Generator().manual_seed(width)).clamp(-2, 2) * (largest - middle) / 2,
        ]
    )


def images(largest: float) -> Tensor:
    """Shapes: [1, 3, 7, 5]."""
    return rows(largest, width=35)[[3, 5, 7]].reshape(1, 3, 7, 5)


class Case(NamedTuple):
    """A module, what it is called with, and how far it may be off: so much, and that share of the right value."""

    function: nn.Module | Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    error: float
    relative: float = 0.0


class Last(nn.Module):
    """What a recurrent layer puts out; torch.export takes it apart into its steps."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(8, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)[0]
        return outputs


class Alone(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def elementwise(function: nn.Module | Callable[..., Tensor], largest: float, error: float) -> Case:
    return Case(function, (rows(largest),), error)


def of_images(function: nn.Module | Callable[..., Tensor], error: float = 3 * UNIT) -> Case:
    return Case(function, (images(LARGEST),), error)


def interpolated(mode: str, **options: object) -> Case:
    # Weights have 16 fraction bits, a mean's divisor 20. Bicubic ones overshoot.
    error = LARGEST * 2.0**-15 if mode.startswith("bi") else LARGEST * 2.0**-20 if mode == "area" else 3 * UNIT
    x = images(HALF if mode == "bicubic" else LARGEST)
    return Case(lambda x: functional.interpolate(x, mode=mode, **options), (x,), error)  # type: ignore[arg-type]


SLOPES = nn.PReLU(8)
with torch.no_grad():
    SLOPES.weight.copy_(torch.tensor([0.25, 0.0, 1.0, -0.5, 0.9, -1.0, 0.01, 0.5]))

HALF = LARGEST / 2
CASES = {
    "nothing": elementwise(nn.Identity(), LARGEST, UNIT),
    "add": Case(torch.add, (rows(HALF), rows(HALF).flip(0)), 2 * UNIT),
    "subtract": Case(torch.sub, (rows(HALF), rows(HALF).flip(0)), 2 * UNIT),
    "multiply": Case(torch.mul, (rows(90.0), rows(90.0).flip(0)), 90 * UNIT * 2),
    "matmul": Case(torch.matmul, (rows(30.0), rows(30.0).T.contiguous()), 8 * 30 * UNIT * 2),
    "add a number": elementwise(lambda x: x + 100.5, HALF, UNIT),
    "times a number": elementwise(lambda x: x * -0.3, LARGEST, LARGEST * 2.0**-20 + 2 * UNIT),
    "abs": elementwise(torch.abs, LARGEST, UNIT),
    "relu": elementwise(nn.ReLU(), LARGEST, UNIT),
    "leaky relu": elementwise(nn.LeakyReLU(0.2), LARGEST, 2e-3),
    "prelu": elementwise(SLOPES, LARGEST, LARGEST * 2.0**-16),
    "one prelu": elementwise(nn.PReLU(), LARGEST, LARGEST * 2.0**-16),
    "relu6": elementwise(nn.ReLU6(), HALF, 2 * UNIT),
    "hardswish": elementwise(nn.Hardswish(), HALF, HALF * 2.0**-15),
    "hardsigmoid": elementwise(nn.Hardsigmoid(), HALF, 3 * UNIT),
    "clamp": elementwise(lambda x: x.clamp(-1.5, 100), HALF, 2 * UNIT),
    "gelu": elementwise(nn.GELU(), 4096.0, 5e-4),
    "silu": elementwise(nn.SiLU(), 4096.0, 1.1e-3),
    "elu": elementwise(nn.ELU(), LARGEST, 4e-4),
    "tanh": elementwise(nn.Tanh(), 4096.0, 9e-4),
    "sigmoid": elementwise(nn.Sigmoid(), 8000.0, 6e-4),
    "softmax": elementwise(nn.Softmax(-1), 1800.0, 4e-4),
    "log_softmax": Case(nn.LogSoftmax(-1), (rows(4000.0),), 1e-4, FLOAT),
    "log_softmax along another axis": Case(nn.LogSoftmax(0), (rows(4000.0),), 1e-4, FLOAT),
    "exp": Case(torch.exp, (rows(9.0, -LARGEST),), 5e-5, 4e-5),
    "exp near one": Case(torch.exp, (rows(9.0),), 5e-5, 4e-5),
    "softplus": elementwise(nn.Softplus(), LARGEST, 5e-4),
    "softplus near zero": elementwise(nn.Softplus(), 12.0, 5e-4),
    "softplus, beta": elementwise(nn.Softplus(beta=2.5), 12.0, 5e-4),
    "divide": Case(torch.div, (rows(LARGEST), rows(LARGEST, 1.0).flip(0)), 3 * UNIT + LARGEST * 2.0**-27, 6e-5),
    "divide by negative numbers": Case(
        torch.div, (rows(100.0), rows(-(2.0**-6), -LARGEST)), 3 * UNIT + 100.0 * 2.0**-10, 6e-5
    ),
    "reciprocal": Case(torch.reciprocal, (rows(LARGEST, 0.5),), 3 * UNIT, 6e-5),
    "normalize": elementwise(functional.normalize, LARGEST, 2e-4),
    "normalize, small": Case(functional.normalize, (rows(0.1, 0.02),), 1e-3),
    "normalize another axis": Case(lambda x: functional.normalize(x, dim=0), (rows(LARGEST),), 2e-4),
    "by its norm": elementwise(lambda x: (x + 0.1) / (x + 0.1).norm(dim=-1, keepdim=True), 100.0, 2e-4),
    "norm": elementwise(lambda x: x.norm(dim=-1), 2000.0, 0.5),
    "rms norm, written out": elementwise(
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6), 500.0, 3e-2
    ),
    "rsqrt": Case(torch.rsqrt, (rows(LARGEST, 2.0**-8),), 4e-5, 4e-5),
    "rms norm": elementwise(nn.RMSNorm(8), 500.0, 3e-2),
    "mean": elementwise(lambda x: x.mean(-1), LARGEST, LARGEST * 2.0**-20 + 2 * UNIT),
    "sum": elementwise(lambda x: x.sum(-1), LARGEST / 8, 8 * UNIT),
    "maximum": elementwise(lambda x: x.amax(-1), HALF, UNIT),
    "flip": of_images(lambda x: x.flip(-1, 1)),
    "pad": of_images(lambda x: functional.pad(x, (1, 0, 2, 3))),
    "slice": of_images(lambda x: x[:, 1:, ::2]),
    "concatenate": of_images(lambda x: torch.cat([x, x], 1)),
    "max pool": Case(nn.MaxPool2d(2), (images(HALF),), 2 * UNIT),
    "max pool, ceil": Case(nn.MaxPool2d(2, ceil_mode=True), (images(HALF),), 2 * UNIT),
    "max pool, ceil and padding": Case(nn.MaxPool2d(3, 2, 1, ceil_mode=True), (images(HALF) - HALF,), 2 * UNIT),
    "max pool, ceil, no window in the padding": Case(nn.MaxPool2d(2, 3, 1, ceil_mode=True), (images(HALF),), 2 * UNIT),
    "average pool": of_images(nn.AvgPool2d(3, 2), 0.02),
    "average pool, ceil": of_images(nn.AvgPool2d(2, ceil_mode=True), 0.2),
    "average pool, ceil and padding": of_images(nn.AvgPool2d(3, 2, 1, ceil_mode=True), 0.2),
    "average pool, padding not counted": of_images(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), 0.2),
    "average pool, divisor": of_images(lambda x: functional.avg_pool2d(x / 16, 2, divisor_override=3), 0.02),
    "adaptive average pool": of_images(nn.AdaptiveAvgPool2d(3), 0.2),
    "adaptive average pool, one more": of_images(nn.AdaptiveAvgPool2d((9, 5)), 0.2),
    "adaptive average pool to one": of_images(nn.AdaptiveAvgPool2d(1), 0.02),
    "adaptive max pool": Case(nn.AdaptiveMaxPool2d((3, 2)), (images(HALF),), 2 * UNIT),
    "adaptive pool of a sequence": Case(nn.AdaptiveAvgPool1d(3), (images(LARGEST)[0, :, :, 0],), 0.2),
    "nearest": interpolated("nearest", scale_factor=2),
    "nearest, uneven": interpolated("nearest", size=(9, 9)),
    "nearest exact": interpolated("nearest-exact", size=(4, 11)),
    "nearest by a factor": interpolated("nearest", scale_factor=1.3),
    "bilinear": interpolated("bilinear", scale_factor=2),
    "bilinear, corners": interpolated("bilinear", size=(9, 4), align_corners=True),
    "bicubic": interpolated("bicubic", size=(9, 8)),
    "area": interpolated("area", size=(3, 3)),
    "upsample of a sequence": Case(nn.Upsample(scale_factor=3), (images(LARGEST)[0],), 2 * UNIT),
    "linear": Case(
        lambda x: functional.interpolate(x, size=9, mode="linear"), (images(LARGEST)[0],), LARGEST * 2.0**-15
    ),
    "layer norm": elementwise(nn.LayerNorm(8), 60.0, 2e-2),
    "linear layer": Case(nn.Linear(8, 3), (rows(1000.0),), 0.1),
    "lstm": Case(Last(nn.LSTM), (rows(100.0).unflatten(0, (3, 3)),), 5e-3),
    "gru": Case(Last(nn.GRU), (rows(100.0).unflatten(0, (3, 3)),), 5e-3),
    "convolution": Case(nn.Conv2d(3, 2, 3), (images(500.0),), 0.1),
    "batch norm": Case(nn.BatchNorm2d(3).eval(), (images(LARGEST),), 0.3),
}


def aspects(name: str, family: Family, weights: WeightVisibility) -> Iterable[Hashable]:
    """All operators are in the modules of `test_operators`, in the default run, too."""
    return family.name, weights, name if name in ("nothing", "adaptive average pool") else ""


ALL = [
    pytest.param(name, family, weights, id=f"{name}-{family.name}-{weights}")
    for name in CASES
    for family in FAMILIES
    for weights in ("private", "public")
]


@pytest.mark.parametrize(("name", "family", "weights"), sampled(ALL, aspects))
def test_alone(name: str, family: Family, weights: WeightVisibility, tmp_path: Path) -> None:
    case = CASES[name]
    torch.manual_seed(7)
    module = case.function if isinstance(case.function, nn.Module) else Alone(case.function)
    with torch.no_grad():
        due = module.double()(*(x.double() for x in case.inputs)).float()
        module.float()
    found = run(module.eval(), case.inputs, weights, tmp_path, family)
    assert found.shape == due.shape
    difference = (found - due).abs() - case.relative * due.abs()
    assert float(difference.max()) <= case.error, (float(difference.max()), case.error)
