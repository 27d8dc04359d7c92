"""Compiled loops against their plain torch references, bit for bit. `test_bits` has the bit planes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.kernels import comparison, harmonics, powers, selection
from secure.protocols.core.kernels.harmonics import Harmonics
from secure.protocols.functions import gelu, silu
from secure.protocols.functions.reciprocal_and_root import reciprocal_function
from secure.protocols.masked.comparison.digits import Group
from secure.protocols.masked.gates.pieces import harmonics_of
from tests.loops import with_both_loops
from tests.protocols.core.test_ring import random_words

pytestmark = pytest.mark.usefixtures("loops")

SHAPES = [((1, 1), (1, 1)), ((3, 8), (8, 5)), ((2, 9), (9, 513)), ((5, 31), (31, 1)), ((1, 7), (7, 1030))]
BATCHES = [((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 9), (3, 9, 2)), ((4, 1, 6), (6, 6))]


@with_both_loops(shapes=SHAPES + BATCHES, bits=[64, 48, 32])
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]], bits: int) -> None:
    left, right = shapes
    a, b = random_words(*left), random_words(*right, seed=1)
    due = torch.matmul(a, b)
    assert torch.equal(ring.low(ring.matmul(a, b, bits), bits), ring.low(due, bits))


def test_matmul_of_views() -> None:
    a, b = random_words(6, 4), random_words(6, 4, seed=1)
    assert torch.equal(ring.matmul(a.T, b), torch.matmul(a.T, b))
    assert torch.equal(ring.matmul(a, b.T), torch.matmul(a, b.T))
    assert torch.equal(ring.matmul(a[::2], b.T), torch.matmul(a[::2], b.T))


@with_both_loops(count=[1, 2, 3, 8, 1001], bits=[8, 17, 31, 33, 40, 47, 56, 64])
def test_pack_and_unpack(bits: int, count: int) -> None:
    x, y = random_words(count), random_words(count, seed=1)
    raw = ring.pack(x, bits)
    assert torch.equal(raw, ring.pack.plain(x, bits))
    back = ring.unpack.plain(raw.numpy().data, (count,), bits)
    assert torch.equal(ring.unpack(raw.numpy().data, (count,), bits), back)
    assert torch.equal(ring.unpack_added(raw.numpy().data, y, bits), ring.low(y + back, bits))
    total, packed = ring.pack_sum(x, y, bits)
    assert torch.equal(total, x + y) and torch.equal(packed, ring.pack.plain(x + y, bits))
    assert torch.equal(ring.pack_difference(x, y.clone(), bits), ring.pack.plain(x - y, bits))


HARMONICS = {
    "gelu": harmonics_of((gelu.GELU.pieces[1],), 16),
    "silu": harmonics_of((silu.SILU.pieces[1],), 17),
    "octaves": harmonics_of(reciprocal_function(-4, 13).pieces[1:-1], 16),
    "one": Harmonics((((1 << 20) - 1, 0, 4),), (1,)),
    "gaps": Harmonics((((1 << 30) - 1, 6, 0), ((1 << 24) - 1, 0, 0)), (2, 5, 6)),
}


@with_both_loops(
    name=list(HARMONICS),
    elements=[1, 33, 1024, 2500],
    card=lambda name, elements: elements <= (33 if name == "octaves" else 1024),
)
def test_harmonics(name: str, elements: int) -> None:
    """Both sides, over several stretches of memory, and results that are not zero before."""
    found, x = HARMONICS[name], random_words(elements, seed=3)
    count, pieces = len(found.numbers), len(found.periods)
    for less in (0, 12):
        assert torch.equal(harmonics.basis(x, found, less), harmonics.basis.plain(x, found, less))
    factors = random_words(count, 2, pieces, seed=4) >> 30
    for kinds in (2, 4):
        value = bits_of(pieces, elements, seed=6) * (kinds // 4)
        shares = random_words(count, kinds, pieces, elements, seed=7)
        results = [random_words(elements, seed=8) for _ in range(2)]
        harmonics.add_sum(results[0], x, found, factors, value, shares)
        harmonics.add_sum.plain(results[1], x, found, factors, value, shares)
        assert torch.equal(*results)


def test_harmonics_are_those_of_the_angle() -> None:
    """Against floating point: multiples of an angle that is reduced, with and without bits below a turn's 2^-24."""
    x = random_words(500, seed=3)
    for name, found in HARMONICS.items():
        basis = harmonics.basis(x, found, 0).double() / 2**integer_functions.SCALE_BITS
        for j, (mask, _, _) in enumerate(found.periods):
            turn = 2 * torch.pi * ((x & mask).double() / (mask + 1))
            for row, number in enumerate(found.numbers):
                for side, function in enumerate((torch.cos, torch.sin)):
                    # Every rotation adds the error of the first; bits below 2^-24 turns are dropped.
                    error = (basis[row, side, j] - function(number * turn)).abs().max()
                    assert float(error) < number * 5e-7, name


def bits_of(*shape: int, seed: int) -> Tensor:
    return (random_words(*shape, seed=seed) & 1).to(torch.uint8)


@pytest.mark.parametrize("count", [1, 17, 1001])
def test_select(count: int) -> None:
    bit, shared, masked = bits_of(count, seed=1), random_words(count, seed=2), random_words(count, seed=3)
    found = selection.select(bit, shared, masked)
    assert torch.equal(found, selection.select.plain(bit, shared, masked))
    assert torch.equal(found, bit * shared + (1 - 2 * bit.to(torch.int64)) * masked)


@pytest.mark.parametrize(("bits", "shift"), [(3, 1), (31, 30), (48, 16), (64, 16), (64, 1)])
def test_shift_opened(bits: int, shift: int) -> None:
    opened = ring.low(random_words(6, 100, seed=1), bits)[::2]
    found = selection.shift_opened(opened, shift, bits)
    assert torch.equal(found, selection.shift_opened.plain(opened, shift, bits))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("bits", [3, 19, 48, 63])
def test_lift(bits: int, first: bool) -> None:
    opened = ring.low(random_words(3, 100, seed=1), bits)
    mask, mask_top = random_words(3, 100, seed=2), random_words(3, 100, seed=3)
    found = selection.lift(opened, mask, mask_top, bits, first=first)
    assert torch.equal(found, selection.lift.plain(opened, mask, mask_top, bits, first=first))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("sloped", [[], [1], [0, 2]])
def test_lines(sloped: list[int], first: bool) -> None:
    count, pieces = 1001, 3
    opened, mask = random_words(count, seed=1), random_words(count, seed=2) if sloped else None
    bits, bit_masks = bits_of(pieces, count, seed=3), random_words(pieces, count, seed=4)
    masked = random_words(len(sloped), count, seed=5) if sloped else None
    constants, slopes = random_words(pieces, seed=6), random_words(pieces, seed=7)
    constants[0] = 0
    slopes[[k for k in range(pieces) if k not in sloped]] = 0
    arguments = opened, mask, bits, bit_masks, masked, sloped, constants, slopes
    assert torch.equal(selection.lines(*arguments, first=first), selection.lines.plain(*arguments, first=first))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("sloped", [False, True])
@pytest.mark.parametrize("series_bits", [19, 32, 45])
def test_smooth(series_bits: int, sloped: bool, first: bool) -> None:
    count = 1001
    opened, mask = random_words(count, seed=1), random_words(count, seed=2)
    series = ring.low(random_words(count, seed=3), series_bits)
    bits, bit_masks = bits_of(2, count, seed=4), random_words(2, count, seed=5)
    of_middle, of_upper = tuple(random_words(4, count, seed=6)), random_words(count, seed=7)
    lines = selection.Straight(3 << 20, -(5 << 17), *((1, 2) if sloped else (0, 0)))
    found, due = (
        function(
            opened,
            mask if sloped else None,
            series,
            bits,
            bit_masks,
            of_middle,
            of_upper if sloped else None,
            lines,
            series_bits,
            first=first,
        )
        for function in (selection.smooth, selection.smooth.plain)
    )
    assert torch.equal(found, due)


def test_power_of_mask() -> None:
    mask = torch.cat([torch.arange(-5, 5), random_words(2000, seed=1)])
    assert torch.equal(powers.power_of_mask(mask, 4, 14), powers.power_of_mask.plain(mask, 4, 14))


def test_power_products() -> None:
    negative = torch.cat([torch.arange(-5, 5), (random_words(2000, seed=1) & 0xFFFFF) - 0xFFFFF + 0x8000])
    bits = torch.stack([bits_of(negative.numel(), seed=seed) for seed in (2, 3)])
    shares = list(random_words(3, negative.numel(), seed=4))
    found = powers.power_products(negative, bits, shares, 31, 4)
    assert torch.equal(found, powers.power_products.plain(negative, bits, shares, 31, 4))


@with_both_loops(
    group=[(2, 4), (1, 1), (1, 6), (33, 8)],
    row=[1, 2, 63, 5000],
    first=[False, True],
    card=lambda group, row, first: row <= 63 and group != (33, 8),
)
def test_leaves(group: tuple[int, int], row: int, first: bool) -> None:
    numbers, digit_bits = group
    shapes = (numbers, 3, digit_bits, row), (2**digit_bits - 1, 3, row)
    not_c, products = (random_words(*shape, seed=1).to(torch.uint8) for shape in shapes)
    for found, due in zip(
        comparison.leaves(not_c, products, first=first),
        comparison.leaves.plain(not_c, products, first=first),
        strict=True,
    ):
        assert torch.equal(found, due)


@with_both_loops(
    size=[2, 3, 5, 6, 10],
    row=[1, 63, 5000],
    needs_equal=[False, True],
    first=[False, True],
    card=lambda size, row, needs_equal, first: row <= 63 and size <= 6,
)
def test_merge(size: int, row: int, needs_equal: bool, first: bool) -> None:
    group = Group(size, needs_equal)
    counts = group.variables, group.variables, group.shared_planes
    opened, masks, shared = (
        random_words(count, 3, row, seed=seed).to(torch.uint8) for seed, count in enumerate(counts)
    )
    highest = random_words(3, row, seed=5).to(torch.uint8)
    arguments = opened, masks, shared, highest
    found = comparison.merge(*arguments, needs_equal=needs_equal, first=first)
    due = comparison.merge.plain(*arguments, needs_equal=needs_equal, first=first)
    assert all(torch.equal(*pair) for pair in zip(found, due, strict=True))


@pytest.mark.parametrize("needs_equal", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_merge_products(size: int, needs_equal: bool) -> None:
    """Of two or more masks of p; then, of each g, its mask times every product of masks of p above it."""
    group = Group(size, needs_equal)
    masks = random_words(group.variables, 2, 9, seed=1).to(torch.uint8)
    p_masks = dict(zip(range(group.lowest_p, size), masks, strict=False))
    of_g = masks[len(p_masks) :]
    due = [product for chosen, product in subsets_of(p_masks) if len(chosen) > 1]
    for i in range(size - 1):
        above = {k: mask for k, mask in p_masks.items() if k > i}
        due += [product & of_g[i] for chosen, product in subsets_of(above) if chosen]
    assert torch.equal(comparison.merge_products(masks, needs_equal=needs_equal), torch.stack(due))
    assert len(due) == group.shared_planes


def subsets_of(planes: dict[int, Tensor]) -> list[tuple[list[int], Tensor]]:
    """Every subset with its product, in the order of subsets as numbers."""
    found = []
    for subset in range(1 << len(planes)):
        chosen = [k for place, k in enumerate(sorted(planes)) if subset >> place & 1]
        product = torch.full((2, 9), 255, dtype=torch.uint8)
        for k in chosen:
            product = product & planes[k]
        found.append((chosen, product))
    return found


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_largest(count: int, first: bool) -> None:
    pairs, subsets, row = count * (count - 1) // 2, 2 ** (count - 1), 77
    opened, masks = random_words(2, count, row, seed=1)
    bit_masks = random_words(pairs, row, seed=2)
    several, masked = (random_words(count, n, row, seed=n) for n in (subsets - count, subsets - 1))
    arguments = opened, masks, bits_of(pairs, row, seed=3), bit_masks, several, masked
    assert torch.equal(selection.largest(*arguments, first=first), selection.largest.plain(*arguments, first=first))
