"""Circuits on plain bits, and functions of straight pieces for small numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.hybrid.garbled.circuit import AND, NOT, Circuit
from secure.protocols.hybrid.garbled.circuits import Masked

Numbers = NDArray[np.int64]


def bits_of(x: Numbers, width: int) -> list[NDArray[np.bool_]]:
    return [(x >> i & 1).astype(bool) for i in range(width)]


def computed(circuit: Circuit, inputs: Sequence[NDArray[np.bool_]]) -> Numbers:
    """The outputs as a number. Shapes: [n] each -> [n]."""
    wires = list(inputs)
    assert len(wires) == circuit.inputs
    for op, a, b, c in circuit.gates.tolist():
        assert c == len(wires)
        wires.append(~wires[a] if op == NOT else wires[a] & wires[b] if op == AND else wires[a] ^ wires[b])
    return sum((wires[o].astype(np.int64) << i for i, o in enumerate(circuit.outputs)), np.int64(0))


def unmasked(of: Masked, first: Sequence[Numbers], second: Sequence[Numbers], mask: Numbers) -> Numbers:
    """The function's value, signed, from both parties' shares of its arguments and a mask. Shapes: [n] each -> [n]."""
    generator = np.random.default_rng(7)
    inputs: list[NDArray[np.bool_]] = []
    if of.late:
        parts = [generator.integers(0, 1 << of.width, len(mask)) for _ in second]
        for numbers in (parts, [v ^ p for v, p in zip(second, parts, strict=True)]):
            inputs += [bit for number in numbers for bit in bits_of(number, of.width)]
    else:
        inputs += [bit for number in second for bit in bits_of(number, of.width)]
    inputs += [bit for number in first for bit in bits_of(number, of.width)] + bits_of(mask, of.result_bits)
    return signed(computed(of.circuit, inputs) - mask, of.result_bits)


def signed(x: Numbers, bits: int) -> Numbers:
    return (x + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def straight(
    name: str,
    thresholds: tuple[float, ...],
    pieces: tuple[Piece | None, ...],
    reference: Callable[[Tensor], Tensor],
    *,
    reach: float = 31.0,
    bits: int = 0,
) -> Piecewise:
    """A function for arguments below `reach` with so many fraction bits."""
    return Piecewise(
        name, thresholds, pieces, reference, (-reach, reach), compare_bits=40 if bits else 7, output_bits=bits
    )


LINE = Piece(slope=1.0)
CLAMP = (Piece(constant=-3.0), LINE, Piece(constant=7.0))
FUNCTIONS = (
    straight("relu", (0.0,), (None, LINE), torch.relu),
    straight("relu6", (0.0, 6.0), (None, LINE, Piece(constant=6.0)), lambda x: x.clamp(0, 6)),
    straight("clamp", (-3.0, 7.0), CLAMP, lambda x: x.clamp(-3, 7)),
    straight("abs", (0.0,), (Piece(slope=-1.0), LINE), torch.abs),
    straight("leaky", (0.0,), (Piece(slope=0.25), LINE), lambda x: torch.where(x < 0, (x / 4).floor(), x)),
    straight("step", (2.0,), (None, Piece(constant=1.0)), lambda x: (x >= 2).double()),
    straight(
        "shrink", (-4.0, 4.0), (Piece(4.0, 1.0), None, Piece(-4.0, 1.0)), lambda x: torch.nn.functional.softshrink(x, 4)
    ),
)
