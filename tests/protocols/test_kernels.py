"""Compiled loops against their plain torch references, bit for bit. `test_bits` has the bit planes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from protocols.core import ring, tables
from tests.protocols.test_ring import random_words

SHAPES = [((1, 1), (1, 1)), ((3, 8), (8, 5)), ((2, 9), (9, 513)), ((5, 31), (31, 1)), ((1, 7), (7, 1030))]
BATCHES = [((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 9), (3, 9, 2)), ((4, 1, 6), (6, 6))]


@pytest.mark.parametrize(("left", "right"), SHAPES + BATCHES)
@pytest.mark.parametrize("bits", [64, 48, 32])
def test_matmul(left: tuple[int, ...], right: tuple[int, ...], bits: int) -> None:
    a, b = random_words(*left), random_words(*right, seed=1)
    due = ring.matmul_reference(a, b)
    assert torch.equal(ring.low(ring.matmul(a, b, bits), bits), ring.low(due, bits))


def test_matmul_of_views() -> None:
    a, b = random_words(6, 4), random_words(6, 4, seed=1)
    assert torch.equal(ring.matmul(a.T, b), ring.matmul_reference(a.T, b))
    assert torch.equal(ring.matmul(a, b.T), ring.matmul_reference(a, b.T))
    assert torch.equal(ring.matmul(a[::2], b.T), ring.matmul_reference(a[::2], b.T))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 1001])
@pytest.mark.parametrize("bits", [8, 17, 31, 33, 40, 47, 56, 64])
def test_pack_and_unpack(bits: int, count: int) -> None:
    x, y = random_words(count), random_words(count, seed=1)
    raw = ring.pack(x, bits)
    assert torch.equal(raw, ring.pack_reference(x, bits))
    back = ring.unpack_reference(raw, (count,), bits)
    assert torch.equal(ring.unpack(raw.numpy().data, (count,), bits), back)
    assert torch.equal(ring.unpack_added(raw.numpy().data, y, bits), ring.low(y + back, bits))
    total, packed = ring.pack_sum(x, y, bits)
    assert torch.equal(total, x + y) and torch.equal(packed, ring.pack_reference(x + y, bits))
    assert torch.equal(ring.pack_difference(x, y.clone(), bits), ring.pack_reference(x - y, bits))


def phasors(*shape: int, seed: int) -> tuple[Tensor, Tensor]:
    return tables.phasor(random_words(*shape, seed=seed) & ((1 << tables.ANGLE_BITS) - 1))


@pytest.mark.parametrize("shape", [(1,), (17,), (3, 5)])
def test_rotate(shape: tuple[int, ...]) -> None:
    a, b = phasors(*shape, seed=1), phasors(*shape, seed=2)
    for found, due in zip(tables.rotate(a, b), tables.rotate_reference(a, b), strict=True):
        assert torch.equal(found, due)


@pytest.mark.parametrize(("pieces", "elements"), [(1, 1), (1, 33), (3, 7), (32, 5)])
def test_add_terms(pieces: int, elements: int) -> None:
    wave = phasors(pieces, elements, seed=3)
    a, b = (random_words(pieces, seed=seed) >> 30 for seed in (4, 5))
    value = random_words(pieces, elements, seed=6) & 1
    shares = list(random_words(4, pieces, elements, seed=7))
    results = [random_words(elements, seed=8) for _ in range(2)]
    tables.add_terms(results[0], wave, a, b, value, shares)
    tables.add_terms_reference(results[1], wave, a, b, value, shares)
    assert torch.equal(*results)
