"""What becomes of one tensor of a checkpoint: which action on which axis, and which gain goes into it first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.action import Action

Source = Callable[[str], Tensor]
"""Reads one tensor of a checkpoint by its name."""


@dataclass(frozen=True)
class Axis:
    """An action on one axis; `reads` tells a space that the weight reads from one that it writes."""

    action: Action
    reads: bool = False

    def apply(self, x: Tensor, axis: int) -> Tensor:
        return self.action.on_axis(x, axis, reads=self.reads)

    def undo(self, x: Tensor, axis: int) -> Tensor:
        return self.action.inverse().on_axis(x, axis, reads=self.reads)


def writes(action: Action) -> Axis:
    """The axis of a space that the tensor writes."""
    return Axis(action)


def reads(action: Action) -> Axis:
    """The axis of a space that the tensor reads."""
    return Axis(action, reads=True)


class Rule(ABC):
    """One tensor: how it is made from the base checkpoint, and how it is turned back."""

    shape: tuple[int, ...]

    @abstractmethod
    def encrypt(self, base: Source) -> Tensor:
        """The encrypted tensor. Shapes: float64 `shape`."""

    @abstractmethod
    def decrypt(self, encrypted: Source) -> Tensor:
        """A tensor that serves as the base's. Shapes: float64 `shape`."""


@dataclass(frozen=True)
class Moved(Rule):
    """A weight, bias or table whose axes belong to spaces. Most tensors are of this kind.

    view: axes flattened together, such as a convolution's patch; the action sees this shape.
    gain: a normalisation's gain that multiplies the axis `gain_axis` first. It stays there on decryption.
    source: the base's tensor, when it has another name (a head that was tied to the embedding).
    vocabulary_axis: the axis of token ids, which rekeying moves.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[Axis | None, ...]
    view: tuple[int, ...] = ()
    gain: str | None = None
    gain_axis: int = -1
    source: str = ""
    vocabulary_axis: int | None = None

    def encrypt(self, base: Source) -> Tensor:
        x = fetch(base, self.source or self.name, self.shape)
        if self.gain is not None:
            gain = fetch(base, self.gain, (self.shape[self.gain_axis],))
            behind = len(self.shape) - 1 - self.gain_axis % len(self.shape)
            x.mul_(gain.reshape(-1, *[1] * behind))
        x = x.reshape(self.view or self.shape)
        for number, axis in enumerate(self.axes):
            x = x if axis is None else axis.apply(x, number)
        return x.reshape(self.shape)

    def decrypt(self, encrypted: Source) -> Tensor:
        x = fetch(encrypted, self.name, self.shape).reshape(self.view or self.shape)
        for number, axis in enumerate(self.axes):
            x = x if axis is None else axis.undo(x, number)
        return x.reshape(self.shape)


@dataclass(frozen=True)
class Constant(Rule):
    """A gain that was folded, and now is 1; a bias that was folded or is free, and now is 0."""

    shape: tuple[int, ...]
    value: float

    def encrypt(self, base: Source) -> Tensor:
        return torch.full(self.shape, self.value, dtype=torch.float64)

    def decrypt(self, encrypted: Source) -> Tensor:
        return torch.full(self.shape, self.value, dtype=torch.float64)


@dataclass(frozen=True)
class Counter(Rule):
    """A whole number beside the weights that no key concerns. It keeps its own type."""

    name: str
    shape: tuple[int, ...] = ()

    def encrypt(self, base: Source) -> Tensor:
        return base(self.name)

    def decrypt(self, encrypted: Source) -> Tensor:
        return encrypted(self.name)


def fetch(source: Source, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor as float64, a copy of its own. Raises CheckpointError for a shape or type that is not as declared."""
    tensor = source(name)
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"{name} has shape {list(tensor.shape)}; the configuration says {list(shape)}")
    if tensor.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise CheckpointError(
            f"{name} holds {str(tensor.dtype).removeprefix('torch.')}; encrypt the floating-point checkpoint first, "
            f"then quantise what comes out"
        )
    return tensor.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
