"""Half gates in compiled loops, on the vectors of labels of `secure.protocols.hybrid.vectors`.

Loops and their intrinsics are in one file: a loop that was kept on disk does not notice a change in another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.circuit import AND, NOT
from secure.protocols.hybrid.vectors import I64, Form, Vectors, emitted


@intrinsic
def garble_and_gate(
    typing: Any,
    form: Any,
    wires: Any,
    table: Any,
    keys: Any,
    delta: Any,
    key: Any,
    a: Any,
    b: Any,
    c: Any,
    g: Any,
    e: Any,
) -> Any:
    """One vector of an AND gate at the garbler: wires[c] = C, table[g] = G and table[e] = E by keys key and key + 1.

    A and B are the zero labels wires[a] and wires[b].
    With p the colour of b's zero label:  G = H(A) ⊕ H(A ⊕ Δ) ⊕ p Δ,  E = H'(B) ⊕ H'(B ⊕ Δ) ⊕ A,
    C = H(A) ⊕ colour(A) G ⊕ H'(B) ⊕ p (E ⊕ A).
    """

    def generate(v: Vectors) -> None:
        xor = v.builder.xor
        first, second, delta_ = v.load(1, v.number(6)), v.load(1, v.number(7)), v.load(4, ir.Constant(I64, 0))
        of_first = v.schedule(3, v.number(5))
        of_second = v.schedule(3, v.builder.add(v.number(5), ir.Constant(I64, 1)))
        labels = [first, xor(first, delta_), second, xor(second, delta_)]
        h = v.hashed([of_first, of_first, of_second, of_second], labels)
        generator = xor(xor(h[0], h[1]), v.where_coloured(second, delta_))
        evaluator = xor(xor(h[2], h[3]), first)
        of_generator = xor(h[0], v.where_coloured(first, generator))
        of_evaluator = xor(h[2], v.where_coloured(second, xor(evaluator, first)))
        v.store(2, v.number(9), generator)
        v.store(2, v.number(10), evaluator)
        v.store(1, v.number(8), xor(of_generator, of_evaluator))

    return emitted(generate, form, wires, table, keys, delta, key, a, b, c, g, e)


@intrinsic
def evaluate_and_gate(
    typing: Any, form: Any, wires: Any, table: Any, keys: Any, key: Any, a: Any, b: Any, c: Any, g: Any, e: Any
) -> Any:
    """Two vectors of an AND gate at the evaluator, so that four chains of rounds overlap.

    C = H(A) ⊕ colour(A) G ⊕ H'(B) ⊕ colour(B) (E ⊕ A).
    """

    def generate(v: Vectors) -> None:
        xor, width = v.builder.xor, 2 * v.lanes

        def after(word: Any, vectors: int) -> Any:
            return v.builder.add(word, ir.Constant(I64, vectors * width))

        of_first = v.schedule(3, v.number(4))
        of_second = v.schedule(3, v.builder.add(v.number(4), ir.Constant(I64, 1)))
        first, second = ([v.load(1, after(v.number(i), u)) for u in (0, 1)] for i in (5, 6))
        h = v.hashed([of_first, of_second, of_first, of_second], [first[0], second[0], first[1], second[1]])
        for u in (0, 1):
            generator, evaluator = (v.load(2, after(v.number(i), u)) for i in (8, 9))
            of_generator = xor(h[2 * u], v.where_coloured(first[u], generator))
            of_evaluator = xor(h[2 * u + 1], v.where_coloured(second[u], xor(evaluator, first[u])))
            v.store(1, after(v.number(7), u), xor(of_generator, of_evaluator))

    return emitted(generate, form, wires, table, keys, key, a, b, c, g, e)


def garble(form: Form, gates: Array, wires: Array, table: Array, keys: Array, delta: Array) -> None:
    """Zero labels of all wires, and the table, from the zero labels of the inputs.

    Shapes: int64 [gates, 4], uint64 [wires, 2 n], [ANDs, 2, 2 n], [2 ANDs, 22], [8]: Δ four times. n is a multiple of
    four.
    """
    width, number = wires.shape[1], 0
    for gate in range(gates.shape[0]):
        op, a, b, c = gates[gate, 0], gates[gate, 1], gates[gate, 2], gates[gate, 3]
        if op == AND:
            for i in range(0, width, 2 * len(form)):
                place = 2 * number * width + i
                first, second, result = a * width + i, b * width + i, c * width + i
                garble_and_gate(
                    form, wires, table, keys, delta, 2 * number, first, second, result, place, place + width
                )  # type: ignore[call-arg]
            number += 1
        elif op == NOT:
            for i in range(width):
                wires[c, i] = wires[a, i] ^ delta[i & 1]
        else:
            for i in range(width):
                wires[c, i] = wires[a, i] ^ wires[b, i]


def evaluate(form: Form, gates: Array, wires: Array, table: Array, keys: Array) -> None:
    """Active labels of all wires from those of the inputs. Shapes as of `garble`; n is a multiple of eight."""
    width, number = wires.shape[1], 0
    for gate in range(gates.shape[0]):
        op, a, b, c = gates[gate, 0], gates[gate, 1], gates[gate, 2], gates[gate, 3]
        if op == AND:
            for i in range(0, width, 4 * len(form)):
                place = 2 * number * width + i
                first, second, result = a * width + i, b * width + i, c * width + i
                evaluate_and_gate(form, wires, table, keys, 2 * number, first, second, result, place, place + width)  # type: ignore[call-arg]
            number += 1
        elif op == NOT:
            for i in range(width):
                wires[c, i] = wires[a, i]
        else:
            for i in range(width):
                wires[c, i] = wires[a, i] ^ wires[b, i]


def pack_bits(values: Array, width: int, packed: Array) -> None:
    """Bit j of value i of element k, in bit i mod 8 of packed[k width + j, i / 8].

    Shapes: uint64 [elements, n], uint8 [elements width, n / 8].
    """
    for row in range(packed.shape[0]):
        value, place = values[row // width], np.uint64(row % width)
        for i in range(packed.shape[1]):
            byte = np.uint64(0)
            for j in range(8):
                byte |= ((value[8 * i + j] >> place) & np.uint64(1)) << np.uint64(j)
            packed[row, i] = byte


def add_offsets(packed: Array, delta: Array, labels: Array) -> None:
    """labels[j, i] ⊕= Δ wherever bit i of row j is set. Shapes: uint8 [bits, n / 8], uint64 [2], [bits, 2 n]."""
    for j in range(labels.shape[0]):
        for i in range(labels.shape[1] // 2):
            whole = np.uint64(0) - ((np.uint64(packed[j, i >> 3]) >> np.uint64(i & 7)) & np.uint64(1))
            labels[j, 2 * i] ^= whole & delta[0]
            labels[j, 2 * i + 1] ^= whole & delta[1]


def colours(labels: Array, rows: Array, values: Array) -> None:
    """Bit j of value i is the lowest bit of label rows[j], i. Shapes: uint64 [wires, 2 n], int64 [bits], uint64 [n]."""
    for i in range(values.shape[0]):
        values[i] = 0
    for j in range(rows.shape[0]):
        row = rows[j]
        for i in range(values.shape[0]):
            values[i] |= (labels[row, 2 * i] & np.uint64(1)) << np.uint64(j)
