"""Bit planes: the CPU's kernel against plain torch, and both against the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secure.protocols.core import bits
from tests.protocols.core.test_ring import WORDS, random_words

COUNTS = [1, 2, 7, 8, 9, 20, 31, 32, 33, 63, 64]
ELEMENTS = [1, 2, 7, 8, 9, 15, 16, 17, 1001]


@pytest.mark.parametrize("elements", ELEMENTS)
@pytest.mark.parametrize("count", COUNTS)
def test_kernels_equal_references(elements: int, count: int) -> None:
    x = random_words(elements)
    planes = bits.to_planes(x, count)
    assert planes.shape == (count, bits.plane_bytes(elements))
    assert torch.equal(planes, bits.to_planes.plain(x, count))
    back = bits.from_planes(planes, elements)
    assert back.dtype == torch.int64
    assert torch.equal(back, bits.from_planes.plain(planes, elements))
    assert torch.equal(back, torch.stack([x >> j & 1 for j in range(count)]))


@given(st.lists(WORDS, min_size=1, max_size=20), st.integers(1, 64))
def test_element_i_is_bit_i_of_a_plane(values: list[int], count: int) -> None:
    planes = bits.to_planes(torch.tensor(values, dtype=torch.int64), count)
    for j in range(count):
        number = int.from_bytes(bytes(planes[j].tolist()), "little")
        assert number == sum((v >> j & 1) << i for i, v in enumerate(values))


@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 4, 1)])
def test_leading_axes_are_kept(shape: tuple[int, ...]) -> None:
    planes = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = bits.from_planes(planes, 5)
    assert found.shape == (*shape[:-1], 5)
    assert torch.equal(found, bits.from_planes.plain(planes, 5))


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (2, 3, 17), (4, 8)])
def test_rows_become_planes_of_their_own(shape: tuple[int, ...]) -> None:
    x = random_words(*shape)
    planes = bits.to_planes(x, 13)
    assert torch.equal(planes, bits.to_planes.plain(x, 13))
    rows = [bits.to_planes(row, 13) for row in x.reshape(-1, shape[-1])]
    assert torch.equal(planes, torch.stack(rows).reshape(*shape[:-1], 13, -1))


def test_views_and_padding() -> None:
    x = random_words(10, 3)
    assert torch.equal(bits.to_planes(x[:, 1], 9), bits.to_planes.plain(x[:, 1].contiguous(), 9))
    assert int(bits.to_planes(torch.full((3,), -1, dtype=torch.int64), 1)[0, 0]) == 0b111
