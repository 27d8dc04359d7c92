"""Comparison of a public number with a shared mask: the part that every comparing gate is built of.

`borrow` is [c mod 2^k < r mod 2^k] as an XOR share, for a public c and a mask r of which the dealer shares bits.

Leaves. Both numbers are cut into digits of four bits. For a digit, "less" (g) and "equal" (p) are polynomials over
GF(2) in the four bits of r with public coefficients from c, so a share of each is a public combination of the 15
products of those bits, which the dealer shares. With q_j = (not c_j) + r_j,
    p = q_3 q_2 q_1 q_0,    g = (not c_3) r_3 + q_3 ((not c_2) r_2 + q_2 (...)).
Leaves cost no communication between the parties. Where there are few elements digits may have eight bits, with 255
products.

Merging. From the lowest digit (0) to the highest (m - 1),
    G = g_{m-1} + p_{m-1} (g_{m-2} + p_{m-2} (...)),   P = p_{m-1} ... p_0.
Up to five digits are merged in one round: every p and g that is multiplied is opened under a one-bit mask, p = v + a
and g = w + b, and the dealer shares the products of masks that occur. Numbers of up to 20 bits take one round, up to
64 bits two; where there are few elements, more digits are merged at once and one round does (`digits.plan_of`).

Both evaluations are folds. A table holds shares of z·(product of U) for every subset U of the mask bits that are
still to come; replacing one variable x = v + a, v public, by its two summands halves the table:
    z x U  =  v (z U) + (z a U).
Tables are indexed by subsets, the next variable in the lowest bit of the index.

Everything is on packed bit planes: one bulk operation per fold, one bit on the wire per opened bit.
Source: digit-wise comparison as in Garay, Schoenmakers, Villegas 2007 and CrypTFlow2 2020, with the dealer's bit
products in place of oblivious transfer; several merges per round as in ABY2.0's multi-input AND.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import bits
from secure.protocols.core.kernels import comparison
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.masked.comparison.digits import Group, Plan, plan_of
from secure.protocols.masked.roles import Dealer, Party


def deal_borrows(
    dealer: Dealer, jobs: tuple[tuple[int, int], ...], masks: tuple[Tensor, ...], profile: Profile = NEAR
) -> None:
    """The dealer's side of `borrows`, with r of each job. Shapes: masks int64 [n]."""
    elements = masks[0].numel()
    plans = [plan_of(width, numbers, elements, profile) for width, numbers in jobs]
    for plan, (width, _), mask in zip(plans, jobs, masks, strict=True):
        dealer.share_planes(bit_products(digits_of(mask, width, plan)))
    for level in range(max(len(plan.levels) for plan in plans)):
        for plan, (_, numbers) in zip(plans, jobs, strict=True):
            for group in _groups(plan, level):
                deal_merge(dealer, group, numbers, elements)


def borrows(party: Party, numbers: list[tuple[int, Tensor]], profile: Profile = NEAR) -> list[Tensor]:
    """XOR shares of [c mod 2^width < r mod 2^width] for each job (width, c), all in the same rounds.

    Shapes: c int64 [J, n] -> uint8 [J, ceil(n / 8)].
    """
    elements = numbers[0][1].shape[1]
    plans = [plan_of(width, c.shape[0], elements, profile) for width, c in numbers]
    row = bits.plane_bytes(elements)
    products = [party.correlation_planes((plan.monomials, plan.digits, row)) for plan in plans]
    leaves = [
        comparison.leaves(digits_of(c, width, plan).bitwise_not_(), own, first=party.index == 0)
        for plan, (width, c), own in zip(plans, numbers, products, strict=True)
    ]
    for level in range(max(len(plan.levels) for plan in plans)):
        leaves = merge_level(party, leaves, [_groups(plan, level) for plan in plans])
    return [less[0] for less, _ in leaves]


def _groups(plan: Plan, level: int) -> tuple[Group, ...]:
    """What is merged at a level, which may lie beyond the plan's last."""
    return plan.levels[level] if level < len(plan.levels) else ()


def digits_of(x: Tensor, width: int, plan: Plan, lowest: int = 0) -> Tensor:
    """The digits of `width` bits of x, from bit `lowest` on, as planes of their bits.

    Shapes: int64 [..., n] -> uint8 [..., digits, b, row].
    """
    planes = bits.to_planes(x, width, lowest)
    planes = torch.nn.functional.pad(planes, (0, 0, 0, plan.digits * plan.digit_bits - width))
    return planes.reshape(*x.shape[:-1], plan.digits, plan.digit_bits, -1)


def bit_products(digits: Tensor) -> Tensor:
    """Products of the bits of each digit of r. Shapes: uint8 [digits, b, row] -> [2^b - 1, digits, row]."""
    return bits.products(digits.transpose(0, 1))[1:]


def deal_merge(dealer: Dealer, group: Group, numbers: int, elements: int) -> None:
    """The dealer's side of one group's merge."""
    planes = dealer.mask_planes((group.variables, numbers, bits.plane_bytes(elements)))
    dealer.share_planes(comparison.merge_products(planes, needs_equal=group.needs_equal))


def merge_level(
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
        self._first = party.index == 0
        self._group = group
        self._highest = less[-1]
        self._masks = party.mask_planes((group.variables, *less.shape[1:]))
        self._shared = party.correlation_planes((group.shared_planes, *less.shape[1:]))
        self.masked = torch.cat([equal[group.lowest_p :], less[:-1]]) ^ self._masks

    def finish(self, opened: Tensor) -> tuple[Tensor, Tensor]:
        """(G, P) of the group; P is of no use where the group does not need it."""
        group = self._group
        return comparison.merge(
            opened, self._masks, self._shared, self._highest, needs_equal=group.needs_equal, first=self._first
        )


def shared_one(party: Party, like: Tensor) -> Tensor:
    """A share of the constant one."""
    return torch.full_like(like, bits.ALL_ONES if party.index == 0 else 0)
