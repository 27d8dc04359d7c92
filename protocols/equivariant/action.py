"""How a secret group element acts on one space of activations.

A space is what flows between two weights: the residual stream, the queries of all heads, the neurons of an FFN. Its
element M takes row vectors x to xM. A weight that writes the space (y = xW) becomes WM; one that reads it becomes
M⁻¹W. In Hugging Face's layout (rows are outputs, W_hf = Wᵀ) both are operations on one axis of the tensor:

    write:  a ← aM      on the axis of the space that the weight writes
    read:   a ← aM⁻ᵀ    on the axis of the space that it reads

so a weight between two spaces takes a write on one axis and a read on the other, and a bias takes a write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

# Rows that are worked on at a time: 256 rows of 2,048 float64 are 4 MiB, near enough to a cache.
_ROWS = 256


class Action(ABC):
    """One element of the group of a space of `size` dimensions."""

    size: int

    @abstractmethod
    def write(self, x: Tensor) -> Tensor:
        """xM. Shapes: float64 [..., size] -> same."""

    @abstractmethod
    def read(self, x: Tensor) -> Tensor:
        """xM⁻ᵀ. Shapes: float64 [..., size] -> same."""

    @abstractmethod
    def inverse(self) -> Action:
        """The action of M⁻¹."""

    def on_axis(self, x: Tensor, axis: int, *, reads: bool) -> Tensor:
        """The action on one axis of a tensor, which may be overwritten. Shapes: float64, x.shape[axis] == size."""
        act = self.read if reads else self.write
        rows = x.movedim(axis, -1)
        if rows.dim() == 1:
            return act(x)
        for start in range(0, rows.shape[0], _ROWS):
            rows[start : start + _ROWS] = act(rows[start : start + _ROWS])
        return x


class Identity(Action):
    """Nothing: what a factor that is left out does."""

    def __init__(self, size: int) -> None:
        self.size = size

    def write(self, x: Tensor) -> Tensor:
        return x

    def read(self, x: Tensor) -> Tensor:
        return x

    def inverse(self) -> Action:
        return self

    def on_axis(self, x: Tensor, axis: int, *, reads: bool) -> Tensor:
        return x


class Permutation(Action):
    """x ← (s_j · x[order_j])_j with signs s: orthogonal, and it keeps the bits of every value but the sign's."""

    def __init__(self, order: Tensor, signs: Tensor | None = None) -> None:
        """Shapes: order int64 [n]; signs ±1, float64 [n]."""
        self.size = len(order)
        self.order = order
        self.signs = signs

    def write(self, x: Tensor) -> Tensor:
        moved = x.index_select(-1, self.order)
        return moved if self.signs is None else moved * self.signs

    def read(self, x: Tensor) -> Tensor:
        return self.write(x)

    def inverse(self) -> Permutation:
        back = torch.argsort(self.order)
        return Permutation(back, None if self.signs is None else self.signs[back])

    def without_signs(self) -> Permutation:
        """What acts on quantities that have no sign in this space, such as the gain of a normalisation."""
        return Permutation(self.order)

    def on_axis(self, x: Tensor, axis: int, *, reads: bool) -> Tensor:
        if axis % x.dim() == x.dim() - 1:
            return super().on_axis(x, axis, reads=reads)
        # Whole rows move: several times faster than gathering columns.
        moved = x.index_select(axis, self.order)
        if self.signs is not None:
            moved.mul_(self.signs.reshape(-1, *[1] * (x.dim() - 1 - axis % x.dim())))
        return moved


class Scale(Action):
    """x ← x ⊙ s with nonzero s."""

    def __init__(self, factors: Tensor) -> None:
        """Shapes: float64 [n]."""
        self.size = len(factors)
        self._factors = factors

    def write(self, x: Tensor) -> Tensor:
        return x * self._factors

    def read(self, x: Tensor) -> Tensor:
        return x / self._factors

    def inverse(self) -> Action:
        return Scale(1.0 / self._factors)


class Blocks(Action):
    """x ← x·(B₀ ⊕ B₁ ⊕ …): a small matrix for each head, or one matrix for all of the space."""

    def __init__(self, matrices: Tensor, dual: Tensor) -> None:
        """Shapes: float64 [blocks, b, b]. dual: the transposed inverses."""
        self.size = matrices.shape[0] * matrices.shape[1]
        self._matrices = matrices
        self._dual = dual

    def write(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._matrices)

    def read(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._dual)

    def inverse(self) -> Action:
        return Blocks(self._dual.mT, self._matrices.mT)

    def repeated(self, times: int) -> Blocks:
        """Each block `times` times in a row: the element of a KV head, for each query head of its group."""
        return Blocks(self._matrices.repeat_interleave(times, 0), self._dual.repeat_interleave(times, 0))

    def _multiply(self, x: Tensor, matrices: Tensor) -> Tensor:
        blocks, width = matrices.shape[:2]
        if blocks == 1:
            return x @ matrices[0]
        rows = x.reshape(-1, blocks, width).transpose(0, 1)
        return torch.bmm(rows, matrices).transpose(0, 1).reshape(x.shape)


def orthogonal_blocks(matrices: Tensor) -> Blocks:
    """Blocks whose transposed inverses are themselves."""
    return Blocks(matrices, matrices)


class Chain(Action):
    """Several actions on the same space, one after the other."""

    def __init__(self, *actions: Action) -> None:
        self.size = actions[0].size
        self._actions = actions

    def write(self, x: Tensor) -> Tensor:
        for action in self._actions:
            x = action.write(x)
        return x

    def read(self, x: Tensor) -> Tensor:
        for action in self._actions:
            x = action.read(x)
        return x

    def inverse(self) -> Action:
        return Chain(*(action.inverse() for action in reversed(self._actions)))


class Stack(Action):
    """Spaces side by side in one axis, such as the queries, keys and values that GPT-2 computes in one product."""

    def __init__(self, *actions: Action) -> None:
        self.size = sum(action.size for action in actions)
        self._actions = actions

    def write(self, x: Tensor) -> Tensor:
        parts = x.split([action.size for action in self._actions], -1)
        return torch.cat([action.write(part) for action, part in zip(self._actions, parts, strict=True)], -1)

    def read(self, x: Tensor) -> Tensor:
        parts = x.split([action.size for action in self._actions], -1)
        return torch.cat([action.read(part) for action, part in zip(self._actions, parts, strict=True)], -1)

    def inverse(self) -> Action:
        return Stack(*(action.inverse() for action in self._actions))


class DeferredAction(Action):
    """An action that is drawn when it is first needed, and then kept: a plan of a large model stays cheap."""

    def __init__(self, size: int, draw: Callable[[], Action]) -> None:
        self.size = size
        self._draw = draw
        self._drawn: Action | None = None

    @property
    def drawn(self) -> Action:
        """The action itself."""
        if self._drawn is None:
            self._drawn = self._draw()
        return self._drawn

    def write(self, x: Tensor) -> Tensor:
        return self.drawn.write(x)

    def read(self, x: Tensor) -> Tensor:
        return self.drawn.read(x)

    def inverse(self) -> Action:
        return DeferredAction(self.size, lambda: self.drawn.inverse())

    def on_axis(self, x: Tensor, axis: int, *, reads: bool) -> Tensor:
        return self.drawn.on_axis(x, axis, reads=reads)
