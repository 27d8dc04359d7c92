"""Calls on which every local step with a compiled loop is compared with its plain torch form: a row for each step.

Rows are generators, so that every form is given tensors of its own, which it may write to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import aes, bits, factor, ring
from secure.protocols.core.kernels import comparison, harmonics, powers, selection
from secure.protocols.core.kernels.dispatch import Step
from secure.protocols.core.kernels.harmonics import Harmonics
from secure.protocols.functions import gelu, silu
from secure.protocols.functions.reciprocal_and_root import reciprocal_function
from secure.protocols.masked.comparison.digits import Group
from secure.protocols.masked.gates.pieces import harmonics_of
from tests.protocols.core.test_ring import random_words

CPU = torch.device("cpu")
FIRST = ({"first": False}, {"first": True})
"""Both parties."""


def whole(result: Any) -> Any:
    """What agrees of most results: all."""
    return result


@dataclass(frozen=True)
class Call:
    """One call of a step. agrees: what of the result must be the same. quick: it does not take long interpreted."""

    arguments: tuple[Any, ...]
    options: dict[str, bool] = field(default_factory=dict)
    agrees: Callable[[Any], Any] = whole
    quick: bool = True


Calls = Iterator[Call]


def bits_of(*shape: int, seed: int) -> Tensor:
    """Bits. Shapes: -> uint8 `shape`, 0 or 1."""
    return (random_words(*shape, seed=seed) & 1).to(torch.uint8)


def bytes_of(*shape: int, seed: int) -> Tensor:
    """Bytes of bit planes. Shapes: -> uint8 `shape`."""
    return random_words(*shape, seed=seed).to(torch.uint8)


def half_words(*shape: int, seed: int) -> Tensor:
    """Short numbers. Shapes: -> int32 `shape`."""
    return random_words(*shape, seed=seed).to(torch.int32)


HARMONICS = {
    "gelu": harmonics_of((gelu.GELU.pieces[1],), 16),
    "silu": harmonics_of((silu.SILU.pieces[1],), 17),
    "octaves": harmonics_of(reciprocal_function(-4, 13).pieces[1:-1], 16),
    "one": Harmonics((((1 << 20) - 1, 0, 4),), (1,)),
    "gaps": Harmonics((((1 << 30) - 1, 6, 0), ((1 << 24) - 1, 0, 0)), (2, 5, 6)),
}
SHAPES = [((1, 1), (1, 1)), ((3, 8), (8, 5)), ((2, 9), (9, 513)), ((5, 31), (31, 1)), ((1, 7), (7, 1030))]
BATCHES = [((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 9), (3, 9, 2)), ((4, 1, 6), (6, 6))]
PACKED = list(product((8, 17, 31, 33, 40, 47, 56, 64), (1, 2, 3, 8, 1001)))


def matmul() -> Calls:
    """Every shape, batches, views and half words."""
    for (left, right), k in product(SHAPES + BATCHES, (64, 48, 32)):
        yield Call((random_words(*left), random_words(*right, seed=1), k), agrees=partial(ring.low, bits=k))
    x, y = random_words(6, 4), random_words(6, 4, seed=1)
    for a, b in ((x.T, y), (x, y.T), (x[::2], y.T), (x, half_words(4, 6, seed=1))):
        yield Call((a, b))


def shift_right() -> Calls:
    """The least and the largest shifts."""
    for k, shift in ((64, 0), (64, 1), (64, 63), (48, 16), (31, 30), (3, 1), (7, 0)):
        yield Call((random_words(6, 100)[::2], shift, k))


def pack() -> Calls:
    """Every width; views, and slices of one element and of none."""
    for k, n in PACKED:
        yield Call((random_words(n), k))
    x = random_words(6, 4)
    for k, view in product((64, 48, 32, 8), (x.T[:, ::2], x[0, 3:4:5], x[6:])):
        yield Call((view, k))


def pack_sum() -> Calls:
    """Every width, and a view."""
    for k, n in PACKED:
        yield Call((random_words(n), random_words(n, seed=1), k))
    yield Call((random_words(6, 4).T, random_words(4, 6, seed=1), 40))


def pack_difference() -> Calls:
    """Every width, and half words."""
    for (k, n), keep in product(PACKED, (False, True)):
        yield Call((random_words(n), random_words(n, seed=1), k), {"keep": keep})
    for k in (8, 17, 32):
        yield Call((random_words(9), half_words(9, seed=1), k))


def payload(n: int, k: int) -> memoryview:
    """A message of n elements of k bits."""
    return ring.pack.plain(random_words(n), k).numpy().data


def unpack() -> Calls:
    """Every width, to words and to half words."""
    for k, n in PACKED:
        yield Call((payload(n, k), (n,), k, CPU))
    for k in (8, 17, 32):
        yield Call((payload(12, k), (3, 4), k, CPU, torch.int32))


def unpack_added() -> Calls:
    """Every width, and a view."""
    for k, n in PACKED:
        yield Call((payload(n, k), random_words(n, seed=1), k))
    yield Call((payload(12, 47), random_words(4, 3, seed=1).T, 47))


def to_planes() -> Calls:
    """Rows whose ends fill no byte, from the lowest bit and from another."""
    for count, n in product((1, 2, 7, 8, 9, 20, 31, 32, 33, 63, 64), (1, 2, 7, 8, 9, 15, 16, 17, 1001)):
        yield Call((random_words(n), count))
    for shape in ((1, 1), (3, 9), (2, 3, 17), (4, 8)):
        yield Call((random_words(*shape), 13, 5))
    yield Call((random_words(10, 3)[:, 1], 9))


def from_planes() -> Calls:
    """Rows whose ends fill no byte, to words and to bytes."""
    for shape, dtype in product(((1,), (3, 1), (2, 4, 1), (20, 126)), (torch.int64, torch.uint8)):
        yield Call((bytes_of(*shape, seed=1), 8 * shape[-1] - 3, dtype))


def products() -> Calls:
    """Planes, and numbers that are 0 or 1."""
    for count in (1, 3, 5):
        yield Call((bytes_of(count, 2, 9, seed=1),))
        yield Call((random_words(count, 2, 9) & 1, 1))


def basis() -> Calls:
    """One stretch of memory and several."""
    for (name, of), n, less in product(HARMONICS.items(), (1, 33, 1024, 2500), (0, 12)):
        yield Call((random_words(n, seed=3), of, less), quick=n <= (33 if name == "octaves" else 1024))


def add_sum() -> Calls:
    """One stretch of memory and several, every sum and chosen ones, added to what is not zero."""
    for (name, of), n, kinds in product(HARMONICS.items(), (1, 33, 1024, 2500), (2, 4)):
        count, pieces = len(of.numbers), len(of.periods)
        factors, value = random_words(count, 2, pieces, seed=4) >> 30, bits_of(pieces, n, seed=6) * (kinds // 4)
        shares = random_words(count, kinds, pieces, n, seed=7)
        arguments = random_words(n, seed=8), random_words(n, seed=3), of, factors, value, shares
        yield Call(arguments, quick=n <= (33 if name == "octaves" else 1024))


def select() -> Calls:
    """Few and many."""
    for n in (1, 17, 1001):
        yield Call((bits_of(n, seed=1), random_words(n, seed=2), random_words(n, seed=3)))


def shift_opened() -> Calls:
    """The least and the largest rings and shifts."""
    for k, shift in ((3, 1), (31, 30), (48, 16), (64, 16), (64, 1), (48, 0)):
        yield Call((ring.low(random_words(6, 100, seed=1), k)[::2], shift, k))


def lift() -> Calls:
    """The least and the largest rings."""
    for k, party in product((3, 19, 48, 63), FIRST):
        yield Call((ring.low(random_words(3, 100, seed=1), k), *random_words(2, 3, 100, seed=2), k), party)


def lines() -> Calls:
    """Some slopes and none, with a constant that is zero."""
    n, pieces = 1001, 3
    for sloped, party in product(([], [1], [0, 2]), FIRST):
        constants, slopes = random_words(pieces, seed=6), random_words(pieces, seed=7)
        constants[0] = 0
        slopes[[k for k in range(pieces) if k not in sloped]] = 0
        mask, masked = (random_words(n, seed=2), random_words(len(sloped), n, seed=5)) if sloped else (None, None)
        shares = mask, bits_of(pieces, n, seed=3), random_words(pieces, n, seed=4), masked
        yield Call((random_words(n, seed=1), *shares, sloped, constants, slopes), party)


def smooth() -> Calls:
    """Rings of several sizes, slopes and none."""
    n = 1001
    for k, slopes, party in product((19, 32, 45), ((0, 0), (1, 2)), FIRST):
        mask, of_upper = random_words(2, n, seed=2) if any(slopes) else (None, None)
        opened, series = random_words(n, seed=1), ring.low(random_words(n, seed=3), k)
        shares = bits_of(2, n, seed=4), random_words(2, n, seed=5), tuple(random_words(4, n, seed=6)), of_upper
        yield Call((opened, mask, series, *shares, selection.Straight(3 << 20, -(5 << 17), *slopes), k), party)


def largest() -> Calls:
    """Two numbers, three and four."""
    for count, party in product((2, 3, 4), FIRST):
        pairs, subsets, row = count * (count - 1) // 2, 2 ** (count - 1), 77
        several, masked = (random_words(count - 1, n, row, seed=n) for n in (subsets - count, subsets - 1))
        shares = bits_of(pairs, row, seed=3), random_words(pairs, row, seed=2), several, masked
        yield Call((*random_words(2, count, row, seed=1), *shares), party)


def power_of_mask() -> Calls:
    """About zero, and anywhere."""
    yield Call((torch.cat([torch.arange(-5, 5), random_words(2000, seed=1)]), 4, 14))


def power_products() -> Calls:
    """About zero, and anywhere below it."""
    negative = torch.cat([torch.arange(-5, 5), (random_words(2000, seed=1) & 0xFFFFF) - 0xFFFFF + 0x8000])
    n = negative.numel()
    yield Call((negative, bits_of(2, n, seed=2), list(random_words(3, n, seed=4)), 31, 4))


def leaves() -> Calls:
    """Digits of four bits, for which the CPU has a loop of its own, and others."""
    for (n, b), row, party in product(((2, 4), (1, 1), (1, 6), (33, 8)), (1, 2, 63, 5000), FIRST):
        planes = bytes_of(n, 3, b, row, seed=1), bytes_of(2**b - 1, 3, row, seed=1)
        yield Call(planes, party, quick=row <= 63 and b < 8)


def merge() -> Calls:
    """Few digits and many."""
    for size, row, needs_equal, party in product((2, 3, 5, 6, 10), (1, 63, 5000), (False, True), FIRST):
        group, options = Group(size, needs_equal), {"needs_equal": needs_equal, **party}
        counts = group.variables, group.variables, group.shared_planes
        planes = (bytes_of(count, 3, row, seed=seed) for seed, count in enumerate(counts))
        yield Call((*planes, bytes_of(3, row, seed=5)), options, quick=row <= 63 and size <= 6)


def merge_products() -> Calls:
    """Few digits and some."""
    for size, needs_equal in product((2, 3, 5), (False, True)):
        yield Call((bytes_of(Group(size, needs_equal).variables, 2, 9, seed=1),), {"needs_equal": needs_equal})


def write_digits() -> Calls:
    """All columns and some, to the beginning and to the middle, of a matrix and of a view."""
    for count in (1, 4, 6, 8):
        for x, columns, at in ((random_words(7, 33), slice(0, 33), 0), (random_words(33, 7).T, slice(3, 21), 11)):
            yield Call((x, columns, torch.zeros((7, count, 40), dtype=torch.int8), at))


def write_transposed_digits() -> Calls:
    """Words and half words, with room beside and below."""
    y = random_words(130, 70, seed=8)
    for part in (y, y.to(torch.int32)):
        yield Call((part, slice(3, 129), torch.zeros((72, 5, 150), dtype=torch.int8), 11))


def add_shifted() -> Calls:
    """One element and several stretches of memory."""
    for n in (1, 2049):
        yield Call((half_words(3, 5, n, seed=6), [0, 8, 8, 40, 56], random_words(3, n, seed=7)))


def keystream() -> Calls:
    """Nonces of few bits and of many; no block, one, and many."""
    for (gate, label), n in product(((0, 0), (1, 16), (2**40 + 1, 2**31)), (0, 1, 16, 5000)):
        yield Call((bytes(range(16)), CPU), agrees=partial(_started, gate=gate, label=label, count=n))


def _started(stream: aes.Keystream, gate: int, label: int, count: int) -> Tensor:
    return stream(gate, label, count)


CALLS: dict[Step[..., Any], Callable[[], Calls]] = {
    aes.keystream: keystream,
    bits.from_planes: from_planes,
    bits.products: products,
    bits.to_planes: to_planes,
    comparison.leaves: leaves,
    comparison.merge: merge,
    comparison.merge_products: merge_products,
    factor.add_shifted: add_shifted,
    factor.write_digits: write_digits,
    factor.write_transposed_digits: write_transposed_digits,
    harmonics.add_sum: add_sum,
    harmonics.basis: basis,
    powers.power_of_mask: power_of_mask,
    powers.power_products: power_products,
    ring.matmul: matmul,
    ring.pack: pack,
    ring.pack_difference: pack_difference,
    ring.pack_sum: pack_sum,
    ring.shift_right: shift_right,
    ring.unpack: unpack,
    ring.unpack_added: unpack_added,
    selection.largest: largest,
    selection.lift: lift,
    selection.lines: lines,
    selection.select: select,
    selection.shift_opened: shift_opened,
    selection.smooth: smooth,
}
"""What each step is called with."""
