"""Windows of an image, in front of pooling and convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Secret

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Which elements of an image a window covers, and where windows lie. Each field: along height, along width.

    padding: rows of zeros around the image, or of its edge again; equal on both sides. after: as many more below, and
    columns to the right.
    """

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    after: Shape = (0, 0)

    def shape(self, image: Shape, what: str) -> Shape:
        """Windows [height, width] of an image [..., height, width]. Raises CheckpointError when there are none."""
        pairs = (self.kernel, self.stride, self.padding, self.dilation, self.after)
        _require(all(len(pair) == 2 for pair in pairs), f"{what}: kernel, stride, padding, dilation are pairs")
        smallest = min(*self.kernel, *self.stride, *self.dilation)
        largest = max(max(pair) for pair in pairs)
        _require(
            smallest > 0 and min(*self.padding, *self.after) >= 0 and largest < 1 << 16,
            f"{what}: kernel, stride, padding",
        )
        counts = []
        for i in (0, 1):
            room = image[-2 + i] + 2 * self.padding[i] + self.after[i] - self.extent(i)
            _require(room >= 0, f"{what}: windows of {list(self.kernel)} on an image of {list(image[-2:])}")
            counts.append(room // self.stride[i] + 1)
        return tuple(counts)

    def extent(self, i: int) -> int:
        """Elements from a window's first to its last along an axis, both counted."""
        return self.dilation[i] * (self.kernel[i] - 1) + 1

    def of(self, image: Tensor, *, edge: bool) -> Tensor:
        """Shapes: [B, C, H, W] -> [B, C, rows, columns, kernel elements]."""
        for i in (0, 1):
            dim, before, after = 2 + i, self.padding[i], self.padding[i] + self.after[i]
            if edge:
                first, last = image.narrow(dim, 0, 1), image.narrow(dim, image.shape[dim] - 1, 1)
                image = torch.cat([*[first] * before, image, *[last] * after], dim)
            else:
                image = torch.nn.functional.pad(image, (0, 0, before, after) if i == 0 else (before, after))
        for i in (0, 1):
            image = image.unfold(2 + i, self.extent(i), self.stride[i])[..., :: self.dilation[i]]
        return image.flatten(4)

    def rows(self, image: Tensor) -> Tensor:
        """Every window as a row. Shapes: [B, C, H, W] -> [B, windows, C kernel elements]."""
        windows = self.of(image, edge=False)
        return windows.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)

    def images(self, rows: Secret, image: Shape) -> Secret:
        """What was computed of each window, as an image. Shapes: [B, windows, N] -> [B, N, rows, columns]."""
        return rows.transpose(1, 2).reshape(rows.shape[0], rows.shape[-1], *self.shape(image, "convolution"))


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise CheckpointError(problem)
