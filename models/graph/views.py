"""Views put elements in another order or shape. They are linear maps on shares, so nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from secure.models.graph.operation import Operation, Shape, broadcast, check_dim, check_size, require
from secure.protocols.core.primitives import concatenate
from secure.protocols.core.secret import Protocol, Secret


@dataclass(frozen=True)
class Reshape(Operation):
    """Same elements in another shape."""

    to: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        shape = check_size(self.to, "reshape")
        require(math.prod(shape) == math.prod(values[0]), f"reshape: {list(values[0])} to {list(shape)}")
        return shape

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].reshape(*self.to)


@dataclass(frozen=True)
class PermuteAxes(Operation):
    """Axes in another order."""

    dims: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(sorted(self.dims) == list(range(len(x))), f"permute: {list(self.dims)} of {len(x)} axes")
        return tuple(x[dim] for dim in self.dims)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].map(lambda t: t.permute(self.dims))


@dataclass(frozen=True)
class Flip(Operation):
    """Some axes in reverse."""

    dims: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        named = {check_dim(dim, x, "flip") for dim in self.dims}
        require(len(named) == len(self.dims), "flip: each axis is named once")
        return x

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].map(lambda t: t.flip(self.dims))


@dataclass(frozen=True)
class Slice(Operation):
    """Elements start, start + step, ... below stop along one axis."""

    dim: int
    start: int
    stop: int
    step: int

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        length = x[check_dim(self.dim, x, "slice")]
        require(
            0 <= self.start < self.stop <= length and self.step > 0,
            f"slice: {self.start} to {self.stop} by {self.step} of {length}",
        )
        return (*x[: self.dim], len(range(self.start, self.stop, self.step)), *x[self.dim + 1 :])

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        index = (*[slice(None)] * self.dim, slice(self.start, self.stop, self.step))
        return values[0][index]


@dataclass(frozen=True)
class Expand(Operation):
    """Axes of length one repeated, and new ones in front."""

    to: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        shape = check_size(self.to, "expand")
        require(broadcast([values[0], shape], "expand") == shape, f"expand: {list(values[0])} to {list(shape)}")
        return shape

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].expand(*self.to)


@dataclass(frozen=True)
class Concatenate(Operation):
    """Tensors joined along one axis."""

    values = None
    dim: int

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        first = values[0]
        dim = check_dim(self.dim, first, "concatenate")
        others = {(*x[:dim], *x[dim + 1 :]) for x in values} if all(len(x) > dim for x in values) else set()
        require(len(others) == 1, f"concatenate: shapes {[list(x) for x in values[:4]]} along axis {dim}")
        return (*first[:dim], sum(x[dim] for x in values), *first[dim + 1 :])

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return concatenate(values[0], values[1:], self.dim)


@dataclass(frozen=True)
class Pad(Operation):
    """Zeros before and after along the last axes: amounts as in torch.nn.functional.pad, the last axis first."""

    amounts: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(
            len(self.amounts) % 2 == 0 and len(self.amounts) <= 2 * len(x) and min(self.amounts, default=0) >= 0,
            f"pad: {list(self.amounts)} for {len(x)} axes",
        )
        shape = list(x)
        for i in range(len(self.amounts) // 2):
            shape[-1 - i] += self.amounts[2 * i] + self.amounts[2 * i + 1]
        return tuple(shape)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].map(lambda t: torch.nn.functional.pad(t, self.amounts))
