"""Half gates in compiled loops, with AES-128 by LLVM's intrinsics: VAES-512, four labels at a time, or AES-NI, one.

A vector holds as many labels of 128 bits as its form has entries: a loop is compiled for a form, a tuple of that
length, so that one source serves both. Every form gives the same bytes. Loops and intrinsics are in one file: a loop
that was kept on disk does not notice a change in another one.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.circuit import AND, NOT

Form = tuple[int, ...]
FOUR: Form = (0, 0, 0, 0)
SINGLE: Form = (0,)

_I64 = ir.IntType(64)
_LAST_ROUND = 10
SCHEDULE_WORDS = 22
"""Words of 64 bits in a key's schedule: eleven round keys."""


@functools.cache
def forms() -> tuple[Form, ...]:
    """The forms that this processor has, the fastest first; none where it has no AES instructions that we know."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ()
    features = llvm.get_host_cpu_features()
    wide = features.get("vaes", False) and features.get("avx512f", False)
    return (*([FOUR] if wide else []), *([SINGLE] if features.get("aes", False) else []))


class _Vectors:
    """Instructions on vectors of one form, as they are put into a function."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.lanes = len(signature.args[0])
        self._type = ir.VectorType(_I64, 2 * self.lanes)
        self._context = context
        self._signature = signature
        self._arguments = arguments

    def number(self, i: int) -> Any:
        """Argument i, which is a number."""
        return self._arguments[i]

    def constant(self, low: int, high: int) -> Any:
        return ir.Constant(self._type, [ir.Constant(_I64, v) for v in (low, high) * self.lanes])

    def _place(self, i: int, word: Any) -> Any:
        array = self._context.make_array(self._signature.args[i])(self._context, self.builder, self._arguments[i])
        return self.builder.bitcast(self.builder.gep(array.data, [word]), self._type.as_pointer())

    def load(self, i: int, word: Any) -> Any:
        """The vector from a word of array i on."""
        found = self.builder.load(self._place(i, word))
        found.align = 8
        return found

    def store(self, i: int, word: Any, value: Any) -> None:
        self.builder.store(value, self._place(i, word)).align = 8

    def halves(self, x: Any, low: int, high: int) -> Any:
        """Labels of which each has that half of x's as its low word, and that one as its high word."""
        index = [ir.Constant(ir.IntType(32), 2 * i + half) for i in range(self.lanes) for half in (low, high)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(index)), index)
        return self.builder.shuffle_vector(x, ir.Constant(self._type, ir.Undefined), mask)

    def schedule(self, i: int, key: Any) -> list[Any]:
        """The round keys of a key of array i, each for all labels of a vector."""
        pair = ir.VectorType(_I64, 2)
        index = [ir.Constant(ir.IntType(32), k % 2) for k in range(2 * self.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(index)), index)
        first, found = self.builder.mul(key, ir.Constant(_I64, SCHEDULE_WORDS)), []
        for r in range(_LAST_ROUND + 1):
            place = self._place(i, self.builder.add(first, ir.Constant(_I64, 2 * r)))
            single = self.builder.load(self.builder.bitcast(place, pair.as_pointer()))
            single.align = 8
            found.append(self.builder.shuffle_vector(single, ir.Constant(pair, ir.Undefined), mask))
        return found

    def _round(self, name: str, x: Any, key: Any) -> Any:
        name = f"llvm.x86.aesni.{name}" + (".512" if self.lanes == len(FOUR) else "")
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(self._type, [self._type, self._type])
        return self.builder.call(known or ir.Function(self.builder.module, kind, name=name), [x, key])

    def hashed(self, keys: list[list[Any]], xs: list[Any]) -> list[Any]:
        """H_k(x) = AES_k(σ(x)) ⊕ σ(x) with σ(L‖R) = (L ⊕ R)‖L; several at once, so that their rounds overlap."""
        whole = self.constant(0, 2**64 - 1)
        mixed = [self.builder.xor(self.halves(x, 1, 0), self.builder.and_(x, whole)) for x in xs]
        states = [self.builder.xor(x, key[0]) for x, key in zip(mixed, keys, strict=True)]
        for r in range(1, _LAST_ROUND):
            states = [self._round("aesenc", x, key[r]) for x, key in zip(states, keys, strict=True)]
        ends = [self._round("aesenclast", x, key[_LAST_ROUND]) for x, key in zip(states, keys, strict=True)]
        return [self.builder.xor(end, x) for end, x in zip(ends, mixed, strict=True)]

    def where_coloured(self, x: Any, y: Any) -> Any:
        """y for labels x whose lowest bit is set, else zero."""
        top = self.constant(63, 63)
        return self.builder.and_(self.builder.ashr(self.builder.shl(self.halves(x, 0, 0), top), top), y)


def _intrinsic(generate: Callable[[_Vectors], None], *arguments: Any) -> tuple[Any, Any]:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        generate(_Vectors(context, builder, signature, values))
        return context.get_dummy_value()

    return types.void(*arguments), codegen


@intrinsic
def garble_and(
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

    def generate(v: _Vectors) -> None:
        xor = v.builder.xor
        first, second, delta_ = v.load(1, v.number(6)), v.load(1, v.number(7)), v.load(4, ir.Constant(_I64, 0))
        of_first = v.schedule(3, v.number(5))
        of_second = v.schedule(3, v.builder.add(v.number(5), ir.Constant(_I64, 1)))
        labels = [first, xor(first, delta_), second, xor(second, delta_)]
        h = v.hashed([of_first, of_first, of_second, of_second], labels)
        generator = xor(xor(h[0], h[1]), v.where_coloured(second, delta_))
        evaluator = xor(xor(h[2], h[3]), first)
        of_generator = xor(h[0], v.where_coloured(first, generator))
        of_evaluator = xor(h[2], v.where_coloured(second, xor(evaluator, first)))
        v.store(2, v.number(9), generator)
        v.store(2, v.number(10), evaluator)
        v.store(1, v.number(8), xor(of_generator, of_evaluator))

    return _intrinsic(generate, form, wires, table, keys, delta, key, a, b, c, g, e)


@intrinsic
def evaluate_and(
    typing: Any, form: Any, wires: Any, table: Any, keys: Any, key: Any, a: Any, b: Any, c: Any, g: Any, e: Any
) -> Any:
    """Two vectors of an AND gate at the evaluator, so that four chains of rounds overlap.

    C = H(A) ⊕ colour(A) G ⊕ H'(B) ⊕ colour(B) (E ⊕ A).
    """

    def generate(v: _Vectors) -> None:
        xor, width = v.builder.xor, 2 * v.lanes

        def after(word: Any, vectors: int) -> Any:
            return v.builder.add(word, ir.Constant(_I64, vectors * width))

        of_first = v.schedule(3, v.number(4))
        of_second = v.schedule(3, v.builder.add(v.number(4), ir.Constant(_I64, 1)))
        first, second = ([v.load(1, after(v.number(i), u)) for u in (0, 1)] for i in (5, 6))
        h = v.hashed([of_first, of_second, of_first, of_second], [first[0], second[0], first[1], second[1]])
        for u in (0, 1):
            generator, evaluator = (v.load(2, after(v.number(i), u)) for i in (8, 9))
            of_generator = xor(h[2 * u], v.where_coloured(first[u], generator))
            of_evaluator = xor(h[2 * u + 1], v.where_coloured(second[u], xor(evaluator, first[u])))
            v.store(1, after(v.number(7), u), xor(of_generator, of_evaluator))

    return _intrinsic(generate, form, wires, table, keys, key, a, b, c, g, e)


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
                garble_and(form, wires, table, keys, delta, 2 * number, first, second, result, place, place + width)  # type: ignore[call-arg]
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
                evaluate_and(form, wires, table, keys, 2 * number, first, second, result, place, place + width)  # type: ignore[call-arg]
            number += 1
        elif op == NOT:
            for i in range(width):
                wires[c, i] = wires[a, i]
        else:
            for i in range(width):
                wires[c, i] = wires[a, i] ^ wires[b, i]


def expand_keys(start: Array, box: Array, schedules: Array) -> None:
    """Schedules of the keys start ⊕ 0, start ⊕ 1, ... Shapes: uint8 [16], [256]: AES's S-box, [keys, 176]."""
    for number in range(schedules.shape[0]):
        key = schedules[number]
        for i in range(16):
            key[i] = start[i] ^ ((number >> 8 * i) & 255) if i < 4 else start[i]
        constant = 1
        for i in range(16, 176, 4):
            if i % 16 == 0:
                key[i] = key[i - 16] ^ box[key[i - 3]] ^ constant
                key[i + 1] = key[i - 15] ^ box[key[i - 2]]
                key[i + 2] = key[i - 14] ^ box[key[i - 1]]
                key[i + 3] = key[i - 13] ^ box[key[i - 4]]
                constant = (constant << 1) ^ (0x11B if constant & 128 else 0)
            else:
                for j in range(4):
                    key[i + j] = key[i + j - 16] ^ key[i + j - 4]


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
