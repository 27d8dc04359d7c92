"""Inputs as callers have them, tensors, numpy arrays or lists, as tensors on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secure.protocols.core.errors import InputError

Array = Tensor | npt.NDArray[Any] | Sequence[Any]


def as_tensor(name: str, value: object) -> Tensor:
    """A tensor as it is, or one of an array's or a list's numbers.

    Raises InputError for anything else, and for rows of unequal length.
    """
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray | list | tuple):
        raise InputError(f"{name} must be a torch tensor, a numpy array or a list, not {type(value).__name__}")
    try:
        return torch.as_tensor(np.array(value))  # a copy: torch warns of arrays that cannot be written
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be numbers in rows of equal length; pad shorter rows, and mask the padding"
        ) from None


def as_tensor_or_none(name: str, value: object) -> Tensor | None:
    """What `as_tensor` gives, or None for an input that is left out."""
    return None if value is None else as_tensor(name, value)
