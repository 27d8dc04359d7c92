"""Comparison of a public number with a shared mask: the part that every comparing gate is built of.

`borrow` is [c mod 2^k < r mod 2^k] as an XOR share, for a public c and a mask r of which the dealer shares bits.

Leaves. Both numbers are cut into digits of four bits. For a digit, "less" (g) and "equal" (p) are polynomials over
GF(2) in the four bits of r with public coefficients from c, so a share of each is a public combination of the 15
products of those bits, which the dealer shares. Leaves cost no communication between the parties.

Merging. From the lowest digit (0) to the highest (m - 1),
    G = g_{m-1} + p_{m-1} (g_{m-2} + p_{m-2} (...)),   P = p_{m-1} ... p_0.
Up to five digits are merged in one round: every p and g that is multiplied is opened under a one-bit mask, p = v + a
and g = w + b, and the dealer shares the products of masks that occur. Numbers of up to 20 bits take one round, up to
64 bits two.

Both evaluations are folds. A table holds shares of z·(product of U) for every subset U of the mask bits that are
still to come; replacing one variable x = v + a, v public, by its two summands halves the table:
    z x U  =  v (z U) + (z a U).
Tables are indexed by subsets, the next variable in the lowest bit of the index.

Everything is on packed bit planes: one bulk operation per fold, one bit on the wire per opened bit.
Source: digit-wise comparison as in Garay, Schoenmakers, Villegas 2007 and CrypTFlow2 2020, with the dealer's bit
products in place of oblivious transfer; several merges per round as in ABY2.0's multi-input AND.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from protocols.beaver.roles import Dealer, Party
from protocols.core import bits, local, ring

DIGIT_BITS = 4
FAN_IN = 5
_MONOMIALS = (1 << DIGIT_BITS) - 1


def digit_count(width: int) -> int:
    """Digits of a number of `width` bits."""
    return -(-width // DIGIT_BITS)


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

    def above(self, i: int) -> slice:
        """Where that table has the products of the masks of p_{i+1}, ..., p_{size-1}."""
        return slice(0, None, 1 << (i + 1 - self.lowest_p))

    @property
    def shared_subsets(self) -> list[int]:
        """Products of p's masks that the dealer must share: those of two or more."""
        return [subset for subset in range(self.subsets) if subset.bit_count() > 1]

    @property
    def shared_planes(self) -> int:
        """Planes that the dealer shares: these, and for each g its mask times every product of the p above it."""
        with_g = sum((1 << (self.size - 1 - i)) - 1 for i in range(self.size - 1))
        return len(self.shared_subsets) + with_g


@cache
def merge_plan(digits: int) -> tuple[tuple[Group, ...], ...]:
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

    @property
    def rounds(self) -> int:
        """One per level of the deepest job."""
        return max(len(merge_plan(digit_count(width))) for width, _ in self.jobs)

    @property
    def online_bytes(self) -> int:
        """Opened bits."""
        return self._sum(lambda group: group.variables)

    @property
    def dealer_bytes(self) -> int:
        """For each job products of the bits of its r, and products of masks for each number."""
        leaves = sum(digit_count(width) for width, _ in self.jobs) * _MONOMIALS
        return leaves * bits.plane_bytes(self.elements) + self._sum(lambda group: group.shared_planes)

    def _sum(self, planes_of: Callable[[Group], int]) -> int:
        total = 0
        for width, numbers in self.jobs:
            total += numbers * sum(planes_of(g) for level in merge_plan(digit_count(width)) for g in level)
        return total * bits.plane_bytes(self.elements)


def deal_borrows(dealer: Dealer, jobs: tuple[tuple[int, int], ...], masks: tuple[Tensor, ...]) -> None:
    """The dealer's side of `borrows`, with r of each job. Shapes: masks int64 [n]."""
    for (width, _), mask in zip(jobs, masks, strict=True):
        dealer.share_planes(_bit_products(ring.low(mask, width), digit_count(width)))
    row = bits.plane_bytes(masks[0].numel())
    for level in range(max(len(merge_plan(digit_count(width))) for width, _ in jobs)):
        for group, numbers in _groups_at(jobs, level):
            planes = dealer.mask_planes((group.variables, numbers, row))
            dealer.share_planes(_mask_products(group, planes))


def borrows(party: Party, numbers: list[tuple[int, Tensor]]) -> list[Tensor]:
    """XOR shares of [c mod 2^width < r mod 2^width] for each job (width, c), all in the same rounds.

    Shapes: c int64 [J, n] -> uint8 [J, ceil(n / 8)].
    """
    row = bits.plane_bytes(numbers[0][1].shape[1])
    plans = [merge_plan(digit_count(width)) for width, _ in numbers]
    products = [party.correlation_planes((_MONOMIALS, digit_count(width), row)) for width, _ in numbers]
    leaves = [_leaves(party, ring.low(c, width), own) for (width, c), own in zip(numbers, products, strict=True)]
    for level in range(max(len(plan) for plan in plans)):
        leaves = _merge_level(party, leaves, [plan[level] if level < len(plan) else () for plan in plans])
    return [less[0] for less, _ in leaves]


def _groups_at(jobs: tuple[tuple[int, int], ...], level: int) -> list[tuple[Group, int]]:
    """The groups of one level over all jobs, in the order in which both sides draw for them."""
    found = []
    for width, numbers in jobs:
        plan = merge_plan(digit_count(width))
        if level < len(plan):
            found += [(group, numbers) for group in plan[level]]
    return found


def _products(planes: Tensor) -> Tensor:
    """Products of every subset of k planes. Shapes: uint8 [k, ...] -> [2^k, ...], plane i in bit i of the index."""
    table = torch.full_like(planes[:1], bits.ALL_ONES)
    for plane in planes:
        table = torch.cat([table, table & plane])
    return table


def _bit_products(mask: Tensor, digits: int) -> Tensor:
    """Products of the bits of each digit of r. Shapes: int64 [n] -> uint8 [15, digits, row]."""
    planes = bits.to_planes(mask, digits * DIGIT_BITS).reshape(digits, DIGIT_BITS, -1)
    return _products(planes.transpose(0, 1))[1:]


def _mask_products(group: Group, masks: Tensor) -> Tensor:
    """What the dealer shares for a group. Shapes: [variables, J, row] -> [shared_planes, J, row]."""
    p_masks, g_masks = masks.split([group.size - group.lowest_p, group.size - 1])
    table = _products(p_masks)
    with_g = [table[group.above(i)][1:] & g_masks[i] for i in range(group.size - 1)]
    return torch.cat([table[group.shared_subsets], *with_g])


def _leaves(party: Party, c: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """(less, equal) of every digit. Shapes: c [J, n], products [15, digits, row] -> two of [digits, J, row].

    With q_j = (not c_j) + r_j:  equal = q_3 q_2 q_1 q_0,  less = (not c_3) r_3 + q_3 ((not c_2) r_2 + q_2 (...)).
    """
    _, digits, row = products.shape
    planes = bits.to_planes(c, digits * DIGIT_BITS).bitwise_not_()
    return local.leaves(planes.reshape(-1, digits, DIGIT_BITS, row), products, first=party.index == 0)


def _merge_level(
    party: Party, leaves: list[tuple[Tensor, Tensor]], groups: list[tuple[Group, ...]]
) -> list[tuple[Tensor, Tensor]]:
    """One level of every job, in one round. A job without groups at this level stays as it is."""
    pending = []
    for job, (less, equal) in enumerate(leaves):
        first = 0
        for group in groups[job]:
            digits = slice(first, first + group.size)
            pending.append((job, _Merge(party, group, less[digits], equal[digits])))
            first += group.size
    opened = party.open_planes(*(merge.masked for _, merge in pending))
    merged: list[list[tuple[Tensor, Tensor]]] = [[] for _ in leaves]
    for (job, merge), values in zip(pending, opened, strict=True):
        merged[job].append(merge.finish(values))
    return [
        (torch.stack([g for g, _ in parts]), torch.stack([p for _, p in parts])) if parts else leaves[job]
        for job, parts in enumerate(merged)
    ]


class _Merge:
    """One group at a party. Shapes: less and equal [size, J, row]."""

    def __init__(self, party: Party, group: Group, less: Tensor, equal: Tensor) -> None:
        self._party = party
        self._group = group
        self._less = less
        self._masks = party.mask_planes((group.variables, *less.shape[1:]))
        self._shared = party.correlation_planes((group.shared_planes, *less.shape[1:]))
        self.masked = torch.cat([equal[group.lowest_p :], less[:-1]]) ^ self._masks

    def finish(self, opened: Tensor) -> tuple[Tensor, Tensor]:
        """(G, P) of the group; P is of no use where the group does not need it."""
        group, size = self._group, self._group.size
        v, w = opened.split([size - group.lowest_p, size - 1])
        p_masks, g_masks = self._masks.split([size - group.lowest_p, size - 1])
        subsets = group.shared_subsets
        table = torch.empty((group.subsets, *opened.shape[1:]), dtype=torch.uint8, device=opened.device)
        table[:1] = shared_one(self._party, p_masks[:1])
        table[[1 << i for i in range(len(p_masks))]] = p_masks
        table[subsets] = self._shared[: len(subsets)]
        # less_i times every product of masks above i, for i = 0, 1, ...
        start, less = len(subsets), torch.empty(0)
        for i in range(size):
            if i == size - 1:
                here = self._less[i:]
            else:
                above = table[group.above(i)]
                with_g = torch.cat([g_masks[i : i + 1], self._shared[start : start + len(above) - 1]])
                start += len(above) - 1
                here = (w[i] & above) ^ with_g
            less = here if i == 0 else here ^ (v[i - group.lowest_p] & less[0::2]) ^ less[1::2]
        equal = table
        if group.needs_equal:
            for i in range(size):
                equal = (v[i] & equal[0::2]) ^ equal[1::2]
        return less[0], equal[0]


def shared_one(party: Party, like: Tensor) -> Tensor:
    """A share of the constant one."""
    return torch.full_like(like, bits.ALL_ONES if party.index == 0 else 0)
