"""How two numbers are compared: into which digits they are cut, and which digits are merged in which round.

Small jobs take the fewest rounds, large ones the fewest bytes; both follow from public shapes. What each choice means
is told in `borrow`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from secure.protocols.core import bits
from secure.protocols.core.profile import NEAR, Profile

DIGIT_BITS = 4
FAN_IN = 5
_WIDE_DIGIT_BITS = 8
_MOST_MERGED = 10


@dataclass(frozen=True)
class Group:
    """One merge of neighbouring digits, lowest first."""

    size: int
    needs_equal: bool

    @property
    def lowest_p(self) -> int:
        """The lowest digit whose p is opened: p_0 matters for P only."""
        return 0 if self.needs_equal else 1

    @property
    def variables(self) -> int:
        """Bits that are opened: p from lowest_p to size - 1, then g from 0 to size - 2."""
        return (self.size - self.lowest_p) + (self.size - 1)

    @property
    def subsets(self) -> int:
        """Length of the table of products of p's masks."""
        return 1 << (self.size - self.lowest_p)

    @property
    def shared_planes(self) -> int:
        """Planes that the dealer shares: these, and for each g its mask times every product of the p above it."""
        with_g = sum((1 << (self.size - 1 - i)) - 1 for i in range(self.size - 1))
        return self.subsets - (self.size - self.lowest_p) - 1 + with_g


@dataclass(frozen=True)
class Plan:
    """digits: how many there are, of `digit_bits` bits each; levels: what is merged in each round."""

    digit_bits: int
    digits: int
    levels: tuple[tuple[Group, ...], ...]

    @property
    def monomials(self) -> int:
        """Products of the bits of one digit."""
        return (1 << self.digit_bits) - 1

    def dealt_planes(self, numbers: int) -> int:
        """Planes that the dealer shares for `numbers` public numbers and one mask."""
        merges = sum(group.shared_planes for level in self.levels for group in level)
        return self.digits * self.monomials + numbers * merges

    def opened_planes(self, numbers: int) -> int:
        """Planes that each party opens."""
        return numbers * sum(group.variables for level in self.levels for group in level)


@cache
def plan_of(width: int, numbers: int, elements: int, profile: Profile = NEAR) -> Plan:
    """How `numbers` public numbers of `width` bits are compared with a mask, at each of `elements` positions."""
    usual = Plan(DIGIT_BITS, digit_count(width, DIGIT_BITS), merge_levels(digit_count(width, DIGIT_BITS)))
    if len(usual.levels) < 2:
        return usual
    for digit_bits in (DIGIT_BITS, _WIDE_DIGIT_BITS):
        digits = digit_count(width, digit_bits)
        if digits > _MOST_MERGED:
            continue
        at_once = Plan(digit_bits, digits, ((Group(digits, needs_equal=False),),))
        more = at_once.dealt_planes(numbers) - usual.dealt_planes(numbers)
        if profile.worth(more * bits.plane_bytes(elements)):
            return at_once
    return usual


def digit_count(width: int, digit_bits: int) -> int:
    """Digits of a number of `width` bits."""
    return -(-width // digit_bits)


def merge_levels(digits: int) -> tuple[tuple[Group, ...], ...]:
    """Levels of groups that turn `digits` leaves into one. The lowest group's P is never needed."""
    levels = []
    while digits > 1:
        count = -(-digits // FAN_IN)
        sizes = [digits // count + (i < digits % count) for i in range(count)]
        levels.append(tuple(Group(size, needs_equal=i > 0) for i, size in enumerate(sizes)))
        digits = count
    return tuple(levels)


@dataclass(frozen=True)
class BorrowCost:
    """Bytes and rounds of `borrows` for one set of jobs; a job is (width, how many numbers are compared with r)."""

    jobs: tuple[tuple[int, int], ...]
    elements: int
    profile: Profile = NEAR

    @property
    def plans(self) -> list[Plan]:
        """The plan of each job."""
        return [plan_of(width, numbers, self.elements, self.profile) for width, numbers in self.jobs]

    @property
    def rounds(self) -> int:
        """One per level of the deepest job."""
        return max(len(plan.levels) for plan in self.plans)

    @property
    def online_bytes(self) -> int:
        """Opened bits."""
        return self._bytes(Plan.opened_planes)

    @property
    def dealer_bytes(self) -> int:
        """What is dealt: each job's products of the bits of its r, and products of masks for each number."""
        return self._bytes(Plan.dealt_planes)

    def _bytes(self, planes_of: Callable[[Plan, int], int]) -> int:
        planes = sum(planes_of(plan, numbers) for plan, (_, numbers) in zip(self.plans, self.jobs, strict=True))
        return planes * bits.plane_bytes(self.elements)
