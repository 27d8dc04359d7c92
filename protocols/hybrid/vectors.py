"""Vectors of labels of 128 bits in compiled loops, with AES-128 by LLVM's intrinsics.

Four labels at a time by VAES-512, or one by AES-NI.

A vector holds as many labels as its form has entries: a loop is compiled for a form, a tuple of that length, so that
one source serves both. Every form gives the same bytes. A loop that was kept on disk does not notice a change here:
intrinsics that are changed by one are to be renamed.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types

Form = tuple[int, ...]
FOUR: Form = (0, 0, 0, 0)
SINGLE: Form = (0,)

I64 = ir.IntType(64)
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


def fastest() -> Form | None:
    """The first of them."""
    return next(iter(forms()), None)


class Vectors:
    """Instructions on vectors of one form, as they are put into a function."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.lanes = len(signature.args[0])
        self._type = ir.VectorType(I64, 2 * self.lanes)
        self._context = context
        self._signature = signature
        self._arguments = arguments

    def number(self, i: int) -> Any:
        """Argument i, which is a number."""
        return self._arguments[i]

    def constant(self, low: int, high: int) -> Any:
        return ir.Constant(self._type, [ir.Constant(I64, v) for v in (low, high) * self.lanes])

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
        pair = ir.VectorType(I64, 2)
        index = [ir.Constant(ir.IntType(32), k % 2) for k in range(2 * self.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(index)), index)
        first, found = self.builder.mul(key, ir.Constant(I64, SCHEDULE_WORDS)), []
        for r in range(_LAST_ROUND + 1):
            place = self._place(i, self.builder.add(first, ir.Constant(I64, 2 * r)))
            single = self.builder.load(self.builder.bitcast(place, pair.as_pointer()))
            single.align = 8
            found.append(self.builder.shuffle_vector(single, ir.Constant(pair, ir.Undefined), mask))
        return found

    def _round(self, name: str, x: Any, key: Any) -> Any:
        name = f"llvm.x86.aesni.{name}" + (".512" if self.lanes == len(FOUR) else "")
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(self._type, [self._type, self._type])
        return self.builder.call(known or ir.Function(self.builder.module, kind, name=name), [x, key])

    def encrypted(self, keys: list[list[Any]], xs: list[Any]) -> list[Any]:
        """AES_k(x); several at once, so that their rounds overlap."""
        states = [self.builder.xor(x, key[0]) for x, key in zip(xs, keys, strict=True)]
        for r in range(1, _LAST_ROUND):
            states = [self._round("aesenc", x, key[r]) for x, key in zip(states, keys, strict=True)]
        return [self._round("aesenclast", x, key[_LAST_ROUND]) for x, key in zip(states, keys, strict=True)]

    def hashed(self, keys: list[list[Any]], xs: list[Any]) -> list[Any]:
        """H_k(x) = AES_k(σ(x)) ⊕ σ(x) with σ(L‖R) = (L ⊕ R)‖L; several at once."""
        whole = self.constant(0, 2**64 - 1)
        mixed = [self.builder.xor(self.halves(x, 1, 0), self.builder.and_(x, whole)) for x in xs]
        ends = self.encrypted(keys, mixed)
        return [self.builder.xor(end, x) for end, x in zip(ends, mixed, strict=True)]

    def where_coloured(self, x: Any, y: Any) -> Any:
        """y for labels x whose lowest bit is set, else zero."""
        top = self.constant(63, 63)
        return self.builder.and_(self.builder.ashr(self.builder.shl(self.halves(x, 0, 0), top), top), y)


def emitted(generate: Callable[[Vectors], None], *arguments: Any) -> tuple[Any, Any]:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        generate(Vectors(context, builder, signature, values))
        return context.get_dummy_value()

    return types.void(*arguments), codegen
