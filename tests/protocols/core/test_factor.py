"""Prepared right factors: both forms against integers of unlimited size, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secure.protocols.core import factor, ring

_SHAPES = ((1, 1, 1), (1, 9, 3), (3, 7, 5), (31, 16, 8), (64, 33, 17), (65, 64, 24), (70, 130, 40))
_EDGES = (0, 1, -1, 127, 128, -128, -129, 255, 256, 2**15, 2**31, -(2**31), 2**63 - 1, -(2**63), -(2**62), 0x7F7F7F7F)


def numbers(*shape: int, seed: int) -> Tensor:
    """Every edge, then numbers from the whole ring."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(-(2**63), 2**63 - 1, shape, generator=generator)
    edges = torch.tensor(_EDGES[: found.numel()])
    found.view(-1)[: len(edges)] = edges
    return found


def exact(xs: list[Tensor], ys: list[Tensor], bits: int) -> Tensor:
    """Sum of products in Python's integers, mod 2^bits."""
    rows, columns = xs[0].shape[0], ys[0].shape[1]
    total = [[0] * columns for _ in range(rows)]
    for x, y in zip(xs, ys, strict=True):
        left, right = x.tolist(), y.T.tolist()
        for i in range(rows):
            for j in range(columns):
                total[i][j] += sum(a * b for a, b in zip(left[i], right[j], strict=True))
    unsigned = [[value % 2**bits for value in row] for row in total]
    return torch.tensor([[value - 2**64 if value >= 2**63 else value for value in row] for row in unsigned])


@pytest.mark.parametrize("digits", [False, True], ids=["words", "digits"])
@pytest.mark.parametrize("bits", [64, 48, 47, 32, 20, 8])
@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_a_product_is_exact(shape: tuple[int, int, int], bits: int, digits: bool) -> None:
    rows, inner, columns = shape
    xs = [numbers(rows, inner, seed=1), numbers(rows, inner + 2, seed=2)]
    ys = [numbers(inner, columns, seed=3), numbers(inner + 2, columns, seed=4)]
    found = factor.prepare(ys, bits, digits=digits).product(xs, bits)
    assert torch.equal(ring.low(found, bits), exact(xs, ys, bits))


@pytest.mark.parametrize("rows", [3, 70])
def test_a_ring_may_be_smaller_than_was_prepared(rows: int) -> None:
    x, y = numbers(rows, 30, seed=1), numbers(30, 20, seed=2)
    for digits in (False, True):
        prepared = factor.prepare([y], 64, digits=digits)
        for bits in (64, 48, 32):
            assert torch.equal(ring.low(prepared.product([x], bits), bits), exact([x], [y], bits))


@pytest.mark.parametrize("rows", [3, 70])
@pytest.mark.parametrize("size", [1, 127, 128, 32639, 32640, 2**23])
def test_short_numbers_keep_few_digits(rows: int, size: int) -> None:
    x, y = numbers(rows, 30, seed=1), numbers(30, 20, seed=2) % (2 * size) - size
    y[0, 0], y[1, 0] = size, -size
    prepared = factor.prepare([y], 64, digits=True)
    assert isinstance(prepared, factor._Digits)
    assert prepared.tensors[0].shape[1] == next(d for d in range(1, 9) if size <= sum(127 << 8 * i for i in range(d)))
    assert torch.equal(prepared.product([x], 64), exact([x], [y], 64))


@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize(("size", "kept"), [(2**29, torch.int32), (2**31 - 1, torch.int32), (2**31, torch.int64)])
def test_short_numbers_are_kept_in_half_words(rows: int, size: int, kept: torch.dtype) -> None:
    x, y = numbers(rows, 30, seed=1), numbers(30, 20, seed=2) % size - size // 2
    y[29, 19], y[17, 3] = size, -size
    prepared = factor.prepare([y], 64, digits=False)
    assert isinstance(prepared, factor._Words)
    assert [part.dtype for part in prepared.tensors] == [kept]
    for bits in (64, 47, 32):
        assert torch.equal(ring.low(prepared.product([x], bits), bits), exact([x], [y], bits))


def test_zero_is_a_factor() -> None:
    prepared = factor.prepare([torch.zeros(9, 3, dtype=torch.int64)], 64, digits=True)
    assert not prepared.product([numbers(2, 9, seed=1)], 64).any()


@pytest.mark.parametrize("rows", [2, 66])
def test_long_sums_do_not_overflow_their_accumulators(rows: int) -> None:
    """The largest products of digits, in more terms than one accumulator holds."""
    inner = 2**17 + 11
    lowest = 0x7F7F7F7F7F7F7F80  # every digit is -128
    x, y = torch.full((rows, inner), lowest), torch.full((inner, 2), lowest)
    assert bool((factor.to_digits(x[:1], 8) == -128).all())
    found = factor.prepare([y], 64, digits=True).product([x], 64)
    assert torch.equal(found, torch.full((rows, 2), (lowest * lowest * inner + 2**63) % 2**64 - 2**63))


def plain_digits(x: Tensor, count: int) -> Tensor:
    """`factor.to_digits` in plain torch."""
    digits = torch.empty((len(x), count, x.shape[1]), dtype=torch.int8)
    factor.write_digits.plain(x, slice(0, x.shape[1]), digits, 0)
    return digits


def test_digits_agree_with_the_reference() -> None:
    x = numbers(7, 33, seed=5)
    for count in (1, 4, 6, 8):
        digits = factor.to_digits(x, count)
        assert torch.equal(digits, plain_digits(x, count))
        weights = torch.tensor([1 << (8 * i) for i in range(count)])
        assert torch.equal(ring.low((digits.to(torch.int64) * weights[:, None]).sum(1) - x, 8 * count), x * 0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_transposed_digits_agree_with_the_reference(dtype: torch.dtype) -> None:
    y = numbers(130, 70, seed=8).to(dtype)
    digits = torch.zeros((72, 5, 150), dtype=torch.int8)
    factor.write_transposed_digits(y, slice(3, 129), digits, 11)
    assert torch.equal(digits[:70, :, 11:137].flip(1), plain_digits(y[3:129].T.to(torch.int64), 5))
    assert not digits[70:].any() and not digits[:, :, :11].any() and not digits[:, :, 137:].any()


@pytest.mark.parametrize("length", [1, 2049])
def test_shifted_sums_agree_with_the_reference(length: int) -> None:
    parts = numbers(3, 5, length, seed=6).to(torch.int32)
    shifts = [0, 8, 8, 40, 56]
    found, due = numbers(3, length, seed=7), numbers(3, length, seed=7)
    factor.add_shifted(parts, shifts, found)
    factor.add_shifted.plain(parts, shifts, due)
    assert torch.equal(found, due)
