"""Boolean circuits of XOR, AND and NOT, built gate by gate; what is constant is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

XOR, AND, NOT = 0, 1, 2
ZERO, ONE = -1, -2
"""Wires that always hold 0, or 1. No gate has them as an input, and a circuit's outputs are never such."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """Gates in an order in which each one's inputs come before it.

    gates: rows (op, first, second, result) of wire numbers; wires 0 to inputs - 1 are the inputs, and NOT has its input
    twice. Shapes: int64 [gates, 4].
    """

    inputs: int
    wires: int
    gates: NDArray[np.int64] = field(repr=False)
    outputs: tuple[int, ...] = field(repr=False)

    @property
    def ands(self) -> int:
        """How many gates are garbled; the others cost nothing."""
        return int((self.gates[:, 0] == AND).sum())


class Builder:
    """A circuit in the making. A number is a list of wires, lowest bit first."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._wires = inputs
        self._gates: list[tuple[int, int, int, int]] = []
        self._inverse: dict[int, int] = {}

    def circuit(self, outputs: Sequence[int]) -> Circuit:
        """What was built, with these outputs, of which a constant one becomes a wire that holds it."""
        found = tuple(wire if wire >= 0 else self._constant(wire) for wire in outputs)
        gates = np.array(self._gates, dtype=np.int64).reshape(-1, 4)
        return Circuit(self._inputs, self._wires, gates, found)

    def xor(self, a: int, b: int) -> int:
        """a ⊕ b."""
        if a < 0 or b < 0:
            a, b = min(a, b), max(a, b)
            return b if a == ZERO else self.invert(b)
        return ZERO if a == b else self._gate(XOR, a, b)

    def both(self, a: int, b: int) -> int:
        """a ∧ b."""
        if ZERO in (a, b) or self._inverse.get(a) == b:
            return ZERO
        if a in (ONE, b):
            return b
        return a if b == ONE else self._gate(AND, a, b)

    def invert(self, a: int) -> int:
        """1 ⊕ a."""
        if a < 0:
            return ONE if a == ZERO else ZERO
        if a not in self._inverse:
            inverse = self._gate(NOT, a, a)
            self._inverse.update({a: inverse, inverse: a})
        return self._inverse[a]

    def add(self, x: Sequence[int], y: Sequence[int], carry: int = ZERO) -> list[int]:
        """x + y + carry mod 2^n, by n - 1 ANDs: c' = c ⊕ (x ⊕ c)(y ⊕ c). Shapes: [n], [n] -> [n]."""
        total = []
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            total.append(self.xor(self.xor(a, b), carry))
            if i + 1 < len(x):
                carry = self.xor(carry, self.both(self.xor(a, carry), self.xor(b, carry)))
        return total

    def subtract(self, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """x - y mod 2^n, as x + (not y) + 1. Shapes: [n], [n] -> [n]."""
        return self.add(x, [self.invert(bit) for bit in y], ONE)

    def keep_if(self, x: Sequence[int], condition: int) -> list[int]:
        """x where the condition is 1, else zero. Shapes: [n] -> [n]."""
        return [self.both(bit, condition) for bit in x]

    def choose(self, condition: int, x: Sequence[int], y: Sequence[int]) -> list[int]:
        """x where the condition is 1, else y: one AND for each bit. Shapes: [n], [n] -> [n]."""
        return [self.xor(b, self.both(condition, self.xor(a, b))) for a, b in zip(x, y, strict=True)]

    def _constant(self, wire: int) -> int:
        zero = self._gate(XOR, 0, 0)
        return zero if wire == ZERO else self._gate(NOT, zero, zero)

    def _gate(self, op: int, a: int, b: int) -> int:
        self._gates.append((op, a, b, self._wires))
        self._wires += 1
        return self._wires - 1


def constant(number: int, width: int) -> list[int]:
    """A number as constant wires, in two's complement."""
    return [ONE if number >> i & 1 else ZERO for i in range(width)]


def extended(x: Sequence[int], width: int) -> list[int]:
    """A signed number in more bits, or its lowest ones."""
    return [*x, *[x[-1]] * (width - len(x))][:width]
