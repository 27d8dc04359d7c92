"""Arguments for the conformance table: exact fixed-point numbers, the edges of the declared range first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ULP = 2.0**-16
FRACTION_BITS = 16
LARGEST = 2.0**13 - ULP
"""Largest magnitude of the default policy."""

Shape = tuple[int, ...]
Filler = Callable[[Sequence[Shape], torch.Generator], list[Tensor]]


def on_grid(x: Tensor, fraction_bits: int = FRACTION_BITS) -> Tensor:
    """x rounded to multiples of 2^-fraction_bits."""
    return torch.round(x * 2.0**fraction_bits) / 2.0**fraction_bits


def around(*points: float, unit: float = ULP) -> tuple[float, ...]:
    """Each point, and one unit to either side."""
    return tuple(point + step * unit for point in points for step in (-1, 0, 1))


@dataclass(frozen=True)
class Argument:
    """Numbers in [low, high], the edges first. `kind` says how the program gets hold of them: see `ops.obtain`."""

    low: float
    high: float
    edges: tuple[float, ...] = ()
    kind: str = "secret"
    fraction_bits: int = FRACTION_BITS

    def fill(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """The edges, then numbers spread evenly over the range and, every third, evenly over its magnitudes."""
        count = math.prod(shape)
        spread, place, sign = torch.rand((3, count), generator=generator, dtype=torch.float64)
        width = self.high - self.low
        finest = -float(self.fraction_bits)
        magnitude = 2.0 ** (finest + place * (math.log2(width) - finest))
        values = torch.where(torch.arange(count) % 3 == 2, magnitude.copysign(sign - 0.5), self.low + width * spread)
        edges = torch.tensor(self.edges[:count], dtype=torch.float64)
        values[: edges.numel()] = edges
        unit = 2.0**-self.fraction_bits
        lowest, highest = math.ceil(self.low / unit) * unit, math.floor(self.high / unit) * unit
        return on_grid(values, self.fraction_bits).clamp(lowest, highest).reshape(shape)


def independent(*arguments: Argument) -> Filler:
    """Every argument by itself."""

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        return [argument.fill(shape, generator) for argument, shape in zip(arguments, shapes, strict=True)]

    return fill


def product_below(limit: float, combine: Callable[..., Tensor], *arguments: Argument) -> Filler:
    """Arguments whose product by `combine` stays below `limit` in every partial sum: the last is shrunk if need be."""

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        values = independent(*arguments)(shapes, generator)
        largest = float(combine(*(v.abs() for v in values)).max())
        if largest >= limit:
            scale = 2.0 ** arguments[-1].fraction_bits
            values[-1] = torch.trunc(values[-1] * (limit / largest * 0.999) * scale) / scale
        return values

    return fill


def rows_of_spread(lowest: float, highest: float, arguments: Sequence[Argument]) -> Filler:
    """The first argument has rows of standard deviation from 2^lowest to 2^highest, the ends first, and a constant row.

    A row of one element is constant anyway. The mean is of the same size as the deviation.
    """

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        *leading, width = shapes[0]
        rows = math.prod(leading)
        x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        mean, deviation = x.mean(1, keepdim=True), x.std(1, correction=0, keepdim=True).clamp(min=1e-9)
        exponent = lowest + torch.rand(rows, 1, generator=generator, dtype=torch.float64) * (highest - lowest)
        exponent[:2, 0] = torch.tensor([lowest + 1e-3, highest - 1e-3], dtype=torch.float64)[:rows]
        scale = 2.0**exponent
        x = (x - mean) / deviation * scale + scale * torch.randn(rows, 1, generator=generator, dtype=torch.float64)
        x[2:3] = 1.0
        others = independent(*arguments[1:])(shapes[1:], generator)
        return [on_grid(x).reshape(shapes[0]), *others]

    return fill


def zero_mean_rows(lowest: float, highest: float, arguments: Sequence[Argument]) -> Filler:
    """The same without a mean, but for the rounding to the grid."""
    spread = rows_of_spread(lowest, highest, arguments)

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        x, *others = spread(shapes, generator)
        return [on_grid(x - x.mean(-1, keepdim=True)), *others]

    return fill


def rows_of_norm(lowest: float, highest: float) -> Filler:
    """Rows of Euclidean norm from 2^lowest to 2^highest, both ends among them."""

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        *leading, width = shapes[0]
        x = torch.randn(math.prod(leading), width, generator=generator, dtype=torch.float64)
        exponent = torch.linspace(lowest + 0.01, highest - 0.01, x.shape[0], dtype=torch.float64).unsqueeze(1)
        return [on_grid(x / x.norm(dim=1, keepdim=True) * 2.0**exponent).reshape(shapes[0])]

    return fill


def one_hot(values: Argument) -> Filler:
    """One-hot rows, and what they are multiplied by."""

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        *leading, size = shapes[0]
        index = torch.randint(size, leading, generator=generator)
        return [torch.nn.functional.one_hot(index, size).to(torch.float64), values.fill(shapes[1], generator)]

    return fill


def one_hots(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
    """One-hot rows in every argument."""
    indices = [torch.randint(shape[-1], shape[:-1], generator=generator) for shape in shapes]
    rows = [torch.nn.functional.one_hot(index, shape[-1]) for index, shape in zip(indices, shapes, strict=True)]
    return [row.to(torch.float64) for row in rows]


def with_mask(scores: Argument, masked: float = -2048.0) -> Filler:
    """Scores, and a mask of 0 and `masked`: each row keeps its first element and loses its last, if that is another.

    The last row has the largest score and, masked, the least one.
    """

    def fill(shapes: Sequence[Shape], generator: torch.Generator) -> list[Tensor]:
        mask = torch.where(torch.rand(shapes[1], generator=generator, dtype=torch.float64) < 0.4, masked, 0.0)
        mask[..., -1] = masked
        mask[..., 0] = 0.0
        values = scores.fill(shapes[0], generator)
        values.reshape(-1, shapes[0][-1])[-1, 0] = scores.high
        values.reshape(-1)[-1] = scores.low if shapes[0][-1] > 1 else scores.high
        return [values, mask]

    return fill
