"""Inputs and their labels, as a search and a distillation are given them, and the batches that they train with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secure.arrays import as_tensor
from secure.protocols.core.errors import InputError

HELD_OUT = 0.1
"""The share of examples that plans are compared on, and nothing is trained with."""
_MOST_HELD_OUT = 2000

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""A batch of inputs as it is trained with, by chance from the generator alone. Shapes: unchanged."""


@dataclass(frozen=True)
class Examples:
    """Inputs, float [N, ...], and labels, int64 [N]."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Tensor) -> Examples:
        """The examples of those numbers."""
        return Examples(self.inputs[rows], self.labels[rows])

    def held_out(self, seed: int) -> tuple[Examples, Examples]:
        """Those to train with and those to compare plans on, at least one of each: by chance, the same for a seed."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        count = max(1, min(round(HELD_OUT * len(self)), _MOST_HELD_OUT))
        return self.part(order[count:]), self.part(order[:count])

    def batches(self, size: int, seed: int, augment: Augment | None) -> Iterator[Examples]:
        """All of them once, in an order of their own for each seed; what does not fill a batch is left out."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        size = min(size, len(self))
        for start in range(0, len(self) - size + 1, size):
            found = self.part(order[start : start + size])
            yield found if augment is None else Examples(augment(found.inputs, generator), found.labels)


def examples_of(data: Any) -> Examples:
    """From a pair of arrays or tensors, a data set of pairs, or the path of an .npz file with `inputs` and `labels`.

    Raises InputError for anything else, and where there are not as many labels as inputs, or fewer than two.
    """
    if isinstance(data, Examples):
        return data
    if isinstance(data, str | Path):
        data = _read(Path(data))
    elif not isinstance(data, tuple | list) or len(data) != 2:
        pairs = [data[i] for i in range(len(data))]
        data = (
            torch.stack([as_tensor("an input", given) for given, _ in pairs]),
            torch.tensor([int(label) for _, label in pairs]),
        )
    inputs, labels = as_tensor("inputs", data[0]), as_tensor("labels", data[1])
    if inputs.dim() < 2 or labels.dim() != 1 or len(inputs) != len(labels) or len(labels) < 2:
        raise InputError(
            f"inputs are {tuple(inputs.shape)} and labels {tuple(labels.shape)}; each input has one label, and there "
            "are two inputs or more"
        )
    return Examples(inputs.to(torch.float32), labels.to(torch.int64))


def _read(path: Path) -> tuple[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["inputs"], file["labels"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no .npz file with the arrays inputs and labels: {type(error).__name__}; write one with "
            "numpy.savez(path, inputs=images, labels=labels)"
        ) from None


def draw_of(seed: int, epoch: int) -> random.Random:
    """What an epoch draws plans from, so that one that is resumed is the same."""
    return random.Random(f"{seed} {epoch}")
