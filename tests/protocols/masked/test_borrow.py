"""Comparison of public numbers with a shared mask: every pair for small widths, random ones for the widths in use."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import bits, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.profile import FAR, NEAR
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.comparison.borrow import borrows, deal_borrows
from secure.protocols.masked.comparison.digits import BorrowCost, digit_count, merge_levels, plan_of
from secure.protocols.masked.roles import Dealer
from tests.in_process import run_roles
from tests.protocols.core.test_ring import as_int64, random_words

Job = tuple[int, Tensor]
"""Width, and the public numbers [J, n] that are compared with the mask."""


def compare(masks: list[Tensor], jobs: list[Job]) -> list[Tensor]:
    """[c mod 2^width < r mod 2^width] by the protocol, as 0 / 1 [J, n] per job. Checks the cost on the way."""
    count = masks[0].numel()
    shapes = tuple((width, numbers.shape[0]) for width, numbers in jobs)
    cost = BorrowCost(shapes, count)
    declared = Cost(cost.rounds, cost.online_bytes, cost.dealer_bytes)

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        role = protocol.role
        role.begin_gate()
        with role.meter.gate("", "borrow", declared):
            if isinstance(role, Dealer):
                deal_borrows(role, shapes, tuple(masks))
                return masks[0]
            found = borrows(role, jobs)
        return torch.cat([planes.reshape(-1) for planes in found])

    (first, second), meters, _ = run_roles(program, [])
    assert meters["p1"].total == declared
    planes = (first ^ second).split([numbers.shape[0] * bits.plane_bytes(count) for _, numbers in jobs])
    return [
        bits.from_planes(part.reshape(numbers.shape[0], -1), count)
        for part, (_, numbers) in zip(planes, jobs, strict=True)
    ]


def expected(mask: Tensor, width: int, numbers: Tensor) -> Tensor:
    c, r = ring.low(numbers, width), ring.low(mask, width)
    if width == ring.WORD_BITS:  # compare as unsigned
        c, r = c ^ (-(2**63)), r ^ (-(2**63))
    return (c < r).to(torch.int64)


def check(masks: list[Tensor], jobs: list[Job]) -> None:
    for found, mask, (width, numbers) in zip(compare(masks, jobs), masks, jobs, strict=True):
        assert torch.equal(found, expected(mask, width, numbers))


@pytest.mark.parametrize("width", range(1, 7))
def test_every_pair(width: int) -> None:
    values = torch.arange(2**width)
    check([values.repeat_interleave(2**width)], [(width, values.repeat(2**width).unsqueeze(0))])


@pytest.mark.parametrize("width", [8, 12, 16, 17, 20, 31, 32, 33, 47, 63, 64])
@pytest.mark.parametrize("count", [1, 7, 8, 3001])
def test_random_pairs(width: int, count: int) -> None:
    """Half of the numbers differ from the mask in few of the low bits, or not at all: the hard cases."""
    mask = random_words(count, seed=width)
    near = mask.unsqueeze(0) + torch.tensor([[0], [1], [-1], [2 ** (width // 2)]])
    check([mask], [(width, torch.cat([near, random_words(4, count, seed=width + 1)]))])


@pytest.mark.parametrize("width", [5, 20, 31, 63])
def test_edges(width: int) -> None:
    """The least and the largest number against each other, and every single bit against its neighbours."""
    points = (0, (1 << width) - 1, *(1 << j for j in range(min(width, 62))))
    ends = torch.tensor(sorted({as_int64(point + step) for point in points for step in (-1, 0, 1)}))
    check([ends.repeat_interleave(ends.numel())], [(width, ends.repeat(ends.numel()).unsqueeze(0))])


@pytest.mark.parametrize(
    "shapes",
    [
        [(31, 1), (20, 1)],
        [(20, 1), (31, 1)],
        [(31, 2), (31, 3)],
        [(63, 19), (4, 1), (1, 2), (16, 1)],
        [(3, 1), (2, 5)],
    ],
    ids=str,
)
def test_several_jobs_in_the_same_rounds(shapes: list[tuple[int, int]]) -> None:
    count = 1001
    masks, jobs = [], []
    for i, (width, numbers) in enumerate(shapes):
        mask = random_words(count, seed=100 + i)
        masks.append(mask)
        c = random_words(numbers, count, seed=i + 1)
        c[0, ::2] = mask[::2] + i
        jobs.append((width, c))
    check(masks, jobs)


@pytest.mark.parametrize("digits", range(1, 20))
def test_merges_end_with_one_digit(digits: int) -> None:
    left = digits
    for level in merge_levels(digits):
        assert sum(group.size for group in level) == left
        assert all(2 <= group.size <= 5 for group in level)
        assert [group.needs_equal for group in level] == [i > 0 for i in range(len(level))]
        left = len(level)
    assert left == 1
    assert len(merge_levels(digits)) == (0 if digits == 1 else 1 if digits <= 5 else 2)


def test_digits() -> None:
    assert [digit_count(width, 4) for width in (1, 4, 5, 20, 31, 32, 63)] == [1, 1, 2, 5, 8, 8, 16]


@pytest.mark.parametrize("width", [24, 31, 60, 64])
@pytest.mark.parametrize("numbers", [1, 10, 33])
def test_few_elements_take_one_round(width: int, numbers: int) -> None:
    """And what the dealer sends more for that is bounded; many elements take the fewest bytes."""
    few, many = BorrowCost(((width, numbers),), 8), BorrowCost(((width, numbers),), 1 << 20)
    assert (few.rounds, many.rounds) == (1, 2)
    assert few.dealer_bytes - many.dealer_bytes // (1 << 17) <= NEAR.round_bytes
    assert plan_of(width, numbers, 1 << 20).levels == merge_levels(digit_count(width, 4))


def test_the_far_profile_merges_more_at_once() -> None:
    for width, numbers in ((31, 1), (40, 5)):
        elements = next(n for n in (1 << i for i in range(30)) if len(plan_of(width, numbers, n).levels) == 2)
        assert len(plan_of(width, numbers, elements, FAR).levels) == 1
        more = BorrowCost(((width, numbers),), elements, FAR), BorrowCost(((width, numbers),), elements)
        assert NEAR.round_bytes < more[0].dealer_bytes - more[1].dealer_bytes <= FAR.round_bytes


@pytest.mark.parametrize("width", [24, 37, 40, 63])
def test_pairs_on_both_sides_of_the_choice(width: int) -> None:
    sizes = [count for count in (9, 64, 640, 64000) if len(plan_of(width, 5, count).levels) == 1]
    assert sizes and sizes != [9, 64, 640, 64000]
    for count in (sizes[-1], 64000):
        mask = random_words(count, seed=width)
        near = mask.unsqueeze(0) + torch.tensor([[0], [1], [-1], [2 ** (width // 2)]])
        check([mask], [(width, torch.cat([near, random_words(1, count, seed=width + 1)]))])
