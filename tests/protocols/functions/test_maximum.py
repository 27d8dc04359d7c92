"""In which groups the maximum of a row is found: few steps for few numbers, few bytes for many."""

from __future__ import annotations

import pytest
import torch

from secure.protocols.core.profile import NEAR
from secure.protocols.functions import argmax
from secure.protocols.functions.argmax import group_sizes, maximum_along
from secure.protocols.masked.gates.largest import MOST, Largest
from secure.protocols.masked.pair import Pair
from tests.in_process import secure


def remaining(count: int, sizes: tuple[int, ...]) -> int:
    for size in sizes:
        count = -(-count // size)
    return count


@pytest.mark.parametrize("rows", [1, 12, 1536, 1 << 20])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 33, 64, 65, 128, 1025])
def test_one_is_left(count: int, rows: int) -> None:
    assert remaining(count, group_sizes(count, rows, NEAR.round_bytes)) == 1


def test_few_numbers_take_few_steps_and_many_take_few_bytes() -> None:
    assert len(group_sizes(33, 12, NEAR.round_bytes)) == 2
    assert len(group_sizes(128, 1536, NEAR.round_bytes)) == 4
    assert len(group_sizes(512, 12 * 512, NEAR.round_bytes)) > 5
    for rows in (12, 1536):
        sizes = group_sizes(128, rows, NEAR.round_bytes)
        assert list(sizes) == sorted(sizes)
    assert set(group_sizes(1 << 10, 1 << 20, 0)) == {2}


@pytest.mark.parametrize("size", range(2, MOST + 1))
def test_what_a_group_is_taken_to_cost(size: int) -> None:
    pair = Pair(torch.empty(1 << 10, size, dtype=torch.int64, device="meta"), None, 18, dealt=True)
    assert round(Largest(pair, 17).cost().dealer_bytes / 1024 + 0.25) == argmax._GROUP_BYTES[size]


@pytest.mark.parametrize("size", range(2, MOST + 1))
@pytest.mark.parametrize("count", [2, 9, 13, 33])
def test_exact_in_groups_of_every_size(size: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(left: int, rows: int, round_bytes: int) -> tuple[int, ...]:
        return () if left == 1 else (size, *fixed(-(-left // size), rows, round_bytes))

    monkeypatch.setattr(argmax, "group_sizes", fixed)
    x = torch.randint(-(1 << 29), 1 << 29, (3, count), generator=torch.Generator().manual_seed(count)) / 2.0**16
    x[1], x[2, ::2] = x[1, -1], float(x[2].max())
    run = secure(maximum_along, x)
    assert torch.equal(run.real, x.amax(-1, keepdim=True).to(torch.float64))
