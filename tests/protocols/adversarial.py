"""Rows of numbers that no uniform noise has.

A row is constant, or has one outlier, alternates between the ends, rises slowly, or has numbers as far apart as can be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.protocols.arguments import on_grid


def rows(width: int, largest: float) -> Tensor:
    """Adversarial rows of numbers up to `largest`. Shapes: -> [rows, width]."""
    places = torch.arange(width, dtype=torch.float64)
    found = []
    for size in (largest, largest / 2, 127.0, 70.0, 1.0, 0.25):
        alternating = size * (1 - 2 * (places % 2))
        outlier = torch.zeros(width, dtype=torch.float64)
        outlier[-1] = size
        found += [torch.full((width,), size, dtype=torch.float64), alternating, -alternating, outlier, -outlier]
        found += [2 * outlier - size, size - 2 * outlier]  # all at one end, and one number at the other
        found.append(size * (1 - places / (8 * width)))  # coherent
        found.append(size * (2 * places / max(width - 1, 1) - 1))
    return on_grid(torch.stack([torch.zeros(width, dtype=torch.float64), *found]))
