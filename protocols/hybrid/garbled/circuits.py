"""The circuits of this family: a function of secrets that two parties share, plus a mask that one of them knows.

Of every element x = u + v mod 2^w, P0 holds u and P1 holds v; P0 holds the mask r. P1 comes to know f(x) + r mod 2^m,
and P0's share of the result is -r. What one garbles and the other evaluates is this:

    client garbles:  P1's share is v = p ⊕ d, inputs are p, d, u, r: p random and known before there is an input, d sent
    server garbles:  inputs are v, u, r

A number of k elements has k w bits, element by element, lowest bit first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.hybrid.garbled.circuit import ZERO, Builder, Circuit, constant, extended

Garbler = Literal["client", "server", "nobody"]
"""Who garbles: P0, at the client, P1, at the model's owner, or nobody: all is made of transfers then."""


@dataclass(frozen=True, eq=False)
class Masked:
    """A circuit and what its wires are.

    elements: numbers in, of `width` bits each. result_bits: of the one number out. late: whether P1's share is the two
    numbers p and d.
    """

    circuit: Circuit
    elements: int
    width: int
    result_bits: int
    late: bool

    @property
    def share_bits(self) -> int:
        """Wires of one party's shares."""
        return self.elements * self.width

    @property
    def chosen_bits(self) -> int:
        """Wires of what the evaluator knows before there is an input, or draws then: labels of them are transferred."""
        return self.share_bits + (0 if self.late else self.result_bits)


Body = Callable[[Builder, list[list[int]]], list[int]]


def masked(elements: int, width: int, result_bits: int, garbler: Garbler, body: Body) -> Masked:
    """body(x_1, ..., x_k) + r, where body gives a number of at most result_bits bits, which is extended by its sign."""
    late = garbler == "client"
    count = elements * width
    builder = Builder(count * (3 if late else 2) + result_bits)
    start, theirs = (2 * count, [builder.xor(i, count + i) for i in range(count)]) if late else (count, [*range(count)])
    ours = range(start, start + count)
    parts = [slice(i * width, (i + 1) * width) for i in range(elements)]
    numbers = [builder.add(ours[part], theirs[part]) for part in parts]
    mask = range(start + count, start + count + result_bits)
    total = builder.add(extended(body(builder, numbers), result_bits), mask)
    return Masked(builder.circuit(total), elements, width, result_bits, late)


@functools.cache
def lifted(width: int, result_bits: int, garbler: Garbler) -> Masked:
    """x itself, |x| < 2^(width - 1), in a larger ring."""
    return masked(1, width, result_bits, garbler, lambda builder, numbers: numbers[0])


@functools.cache
def largest(elements: int, width: int, result_bits: int, garbler: Garbler) -> Masked:
    """The largest of some numbers of which any two differ by less than 2^(width - 1), by a tournament."""

    def body(builder: Builder, numbers: list[list[int]]) -> list[int]:
        while len(numbers) > 1:
            rest = numbers[len(numbers) // 2 * 2 :]
            pairs = zip(numbers[::2], numbers[1::2], strict=False)
            numbers = [builder.choose(builder.subtract(x, y)[-1], y, x) for x, y in pairs] + rest
        return numbers[0]

    return masked(elements, width, result_bits, garbler, body)


@functools.cache
def straight(function: Piecewise, input_bits: int, width: int, result_bits: int, garbler: Garbler) -> Masked:
    """A function whose pieces are straight lines with slopes of 0 or ±2^-s, of arguments with input_bits.

    A threshold costs a subtraction, and none where it is zero; a piece costs the bits that it chooses. A slope of 2^-s
    drops the lowest s bits, so such a piece is up to one unit low.
    Raises ConfigurationError for a function with other pieces.
    """
    check_straight(function, input_bits)

    def body(builder: Builder, numbers: list[list[int]]) -> list[int]:
        (x,) = numbers
        below = [_below(builder, x, round(t * 2.0**input_bits)) for t in function.thresholds]
        total = [ZERO] * width
        for i, piece in enumerate(function.pieces):
            if piece is None:
                continue
            condition = builder.invert(below[i - 1]) if i else below[0]
            if 0 < i < len(below):
                condition = builder.both(condition, below[i])
            line = _line(builder, x, piece, function.output_bits)
            # At most one piece applies, so their sum is their exclusive or.
            total = [builder.xor(a, b) for a, b in zip(total, builder.keep_if(line, condition), strict=True)]
        return total

    return masked(1, width, result_bits, garbler, body)


def check_straight(function: Piecewise, input_bits: int) -> None:
    """Raises ConfigurationError, naming the function, where `straight` has no circuit for it."""
    sloped = [piece.slope for piece in function.pieces if piece is not None and piece.slope]
    dyadic = all(math.frexp(abs(slope))[0] == 0.5 and abs(slope) <= 1 for slope in sloped)
    if function.trigonometric or not dyadic or (sloped and function.output_bits != input_bits):
        raise ConfigurationError(
            f"protocol 'hybrid' cannot compute {function.name}: its garbled circuits take functions of straight pieces "
            "with slopes of 0 or ±2^-s (ReLU, ReLU6, clamp, leaky ReLU with such a slope); use protocol 'beaver'"
        )
    function.check_scale(input_bits)


def _below(builder: Builder, x: list[int], threshold: int) -> int:
    """Whether x < threshold: the sign of their difference."""
    return builder.add(x, constant(-threshold, len(x)))[-1] if threshold else x[-1]


def _line(builder: Builder, x: list[int], piece: Piece, output_bits: int) -> list[int]:
    """The piece's value in as many bits as x has. Of a slope 2^-s, the lowest s bits of x are dropped."""
    line, width = [ZERO] * len(x), len(x)
    if piece.slope:
        line = extended(x[-math.frexp(abs(piece.slope))[1] + 1 :], width)
        if piece.slope < 0:
            line = builder.subtract([ZERO] * width, line)
    number = round(piece.constant * 2.0**output_bits)
    return builder.add(line, constant(number, width)) if number else line
