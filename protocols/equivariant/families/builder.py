"""Collects the rules of a checkpoint, product by product, in the words of a model's architecture."""

from __future__ import annotations

from secure.protocols.equivariant.action import Action, Permutation
from secure.protocols.equivariant.normal import DividedBias, FoldedBias, Norm, PartlyFree, TiedBias, TiedGain
from secure.protocols.equivariant.rule import Axis, Constant, Counter, Moved, Rule, reads, writes


class LayoutBuilder:
    """Rules by the names of the encrypted checkpoint's tensors, and those that decrypt differently."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.decrypt: dict[str, Rule] = {}
        self._untied: list[str] = []

    @property
    def base(self) -> dict[str, tuple[int, ...]]:
        """The base's tensors with their shapes: all but a head that the base ties to its embedding."""
        return {name: rule.shape for name, rule in self.rules.items() if name not in self._untied}

    def moved(self, name: str, *axes: tuple[int, Axis | None]) -> None:
        """A tensor without a fold. axes: the size of each, and what acts on it."""
        self.rules[name] = Moved(name, tuple(size for size, _ in axes), tuple(axis for _, axis in axes))

    def counter(self, name: str) -> None:
        """A count of batches, which stays."""
        self.rules[name] = Counter(name)

    def flat(self, name: str, shape: tuple[int, ...], view: tuple[int, ...], *axes: Axis | None) -> None:
        """A tensor of which several axes are one space, as the axes of `view` are."""
        self.rules[name] = Moved(name, shape, axes, view=view)

    def table(self, name: str, rows: Action, columns: Action) -> None:
        """An embedding: one row for each token."""
        self.rules[name] = Moved(name, (rows.size, columns.size), (writes(rows), writes(columns)), vocabulary_axis=0)

    def head(self, name: str, rows: Action, stream: Action, norm: Norm | None, tied_to: str = "") -> None:
        """The head: one row for each token, no bias. tied_to: the embedding that it is in the base."""
        weight = f"{name}.weight"
        self.rules[weight] = Moved(
            weight,
            (rows.size, stream.size),
            (writes(rows), reads(stream)),
            gain=norm.weight if norm else None,
            source=tied_to,
            vocabulary_axis=0,
        )
        if not tied_to:
            return
        self._untied.append(weight)
        if norm is not None:
            gain = TiedGain((stream.size,), self.rules[tied_to], self.rules[weight])
            self.decrypt[norm.weight] = gain
            if norm.bias:
                self.decrypt[norm.bias] = TiedBias((stream.size,), self.rules[norm.bias], gain)

    def linear(
        self,
        name: str,
        output: Axis | int,
        space: Action,
        *,
        bias: bool = True,
        norm: Norm | None = None,
        transposed: bool = False,
        free: tuple[int, int] = (0, 0),
    ) -> None:
        """A product y = N(x)·W + b with x in `space`. output: its axis, or its size where nothing acts on it.

        norm: the normalisation that goes into the weight, if one does. transposed, free: as FoldedBias says.
        """
        weight = f"{name}.weight"
        axis = None if isinstance(output, int) else output
        size = output if isinstance(output, int) else output.action.size
        axes: tuple[Axis | None, ...] = (reads(space), axis) if transposed else (axis, reads(space))
        shape = (space.size, size) if transposed else (size, space.size)
        gain = norm.weight if norm else None
        self.rules[weight] = Moved(weight, shape, axes, gain=gain, gain_axis=0 if transposed else 1)
        if bias:
            self.rules[f"{name}.bias"] = self._bias(
                f"{name}.bias", size, axis, weight, space.size, norm, transposed, free
            )

    def _bias(
        self,
        name: str,
        size: int,
        axis: Axis | None,
        weight: str,
        inputs: int,
        norm: Norm | None,
        transposed: bool,
        free: tuple[int, int],
    ) -> Rule:
        if free == (0, size):
            return Constant((size,), 0.0)
        if norm is not None and norm.bias:
            return FoldedBias(name, (size,), axis, weight, inputs, norm.bias, transposed, free)
        if free[1] and axis is not None:
            return PartlyFree(name, (size,), axis, free)
        return Moved(name, (size,), (axis,))

    def norm(self, name: str, stream: Action, *, folds: bool, bias: bool, divides: bool = False) -> Norm | None:
        """A normalisation of the stream; what its readers take in when it folds.

        divides: its readers have no bias, so that β stays behind, divided by γ.
        """
        norm = Norm(f"{name}.weight", f"{name}.bias" if bias else "")
        if not folds:
            # A gain multiplies each dimension whatever its sign, so it follows the order only; a bias has the sign.
            order = stream.without_signs() if isinstance(stream, Permutation) else stream
            self.moved(norm.weight, (stream.size, writes(order)))
            if bias:
                self.moved(norm.bias, (stream.size, writes(stream)))
            return None
        self.rules[norm.weight] = Constant((stream.size,), 1.0)
        if bias and divides:
            self.rules[norm.bias] = DividedBias(norm.bias, (stream.size,), writes(stream), norm.weight)
        elif bias:
            self.rules[norm.bias] = Constant((stream.size,), 0.0)
        return norm
