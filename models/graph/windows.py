"""Windows of an image, in front of pooling and convolutions. They are linear maps on shares, so nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.operation import Operation, Shape, require
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.core.windows import Window


@dataclass(frozen=True)
class Windows(Operation):
    """Every window of an image. Shapes: [B, C, H, W] -> [B, C, rows, columns, kernel elements].

    edge: padding repeats the image's edge, for maxima, instead of zero.
    """

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    after: Shape
    edge: bool

    def _window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.dilation, self.after)

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) == 4, f"windows: an image is [B, C, H, W], not {list(x)}")
        return (*x[:2], *self._window().shape(x, "windows"), math.prod(self.kernel))

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].map(lambda t: self._window().of(t, edge=self.edge))


def adaptive_places(length: int, count: int) -> list[range]:
    """What each of `count` windows of torch's adaptive pooling covers: they may overlap, or differ in length."""
    return [range(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


@dataclass(frozen=True)
class AdaptiveWindows(Operation):
    """A given number of windows of an image, all made as long as the longest.

    Shapes: [B, C, H, W] -> [B, C, rows, columns, elements]. to: rows and columns. edge: what is missing is a window's
    last element once more, for maxima, instead of zero.
    """

    to: Shape
    edge: bool

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) == 4 and len(self.to) == 2, f"windows: {list(self.to)} of an image [B, C, H, W], not {list(x)}")
        fits = all(0 < n < 1 << 16 for n in self.to)
        require(fits, f"windows: {list(self.to)} of them")
        sizes = [max(map(len, adaptive_places(length, n))) for length, n in zip(x[2:], self.to, strict=True)]
        return (*x[:2], *self.to, math.prod(sizes))

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0].map(self._windows)

    def _windows(self, image: Tensor) -> Tensor:
        for i, count in enumerate(self.to):
            places = adaptive_places(image.shape[2 + i], count)
            size = max(map(len, places))
            index = torch.tensor([[place[min(j, len(place) - 1)] for j in range(size)] for place in places])
            image = image.index_select(2 + i, index.flatten().to(image.device)).unflatten(2 + i, index.shape)
            if not self.edge:
                there = torch.tensor([[j < len(place) for j in range(size)] for place in places], device=image.device)
                image = image * there.reshape(count, size, *[1] * (image.dim() - 4 - i)).to(image.dtype)
            image = image.movedim(3 + i, -1)
        return image.flatten(4)
