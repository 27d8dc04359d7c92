"""Comparison of a public number with a shared mask: the part that every comparing gate is built of.

`borrow` is [c mod 2^k < r mod 2^k] as an XOR share, for a public c and a mask r of which the dealer shares bits.

Leaves. Both numbers are cut into digits of four bits. For a digit, "less" (g) and "equal" (p) are polynomials over
GF(2) in the four bits of r with public coefficients from c, so a share of each is a public combination of the 15
products of those bits, which the dealer shares. Leaves cost no communication between the parties.

Merging. From the lowest digit (0) to the highest (m - 1),
    G = g_{m-1} + p_{m-1} (g_{m-2} + p_{m-2} (...)),   P = p_{m-1} ... p_0.
Up to four digits are merged in one round: every p and g that is multiplied is opened under a one-bit mask, the dealer
shares the products of masks that occur, and each term follows by expanding it, one variable at a time. Numbers of up
to 16 bits take one round, up to 64 bits two.

Everything is on packed bit planes: one bulk operation per term, one bit on the wire per opened bit.
Source: digit-wise comparison as in Garay, Schoenmakers, Villegas 2007 and CrypTFlow2 2020, with the dealer's bit
products in place of oblivious transfer; several merges per round as in ABY2.0's multi-input AND.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from protocols.beaver.roles import Dealer, Party
from protocols.core import bits, ring

DIGIT_BITS = 4
FAN_IN = 4
_MONOMIALS = (1 << DIGIT_BITS) - 1


def digit_count(width: int) -> int:
    """Digits of a number of `width` bits."""
    return -(-width // DIGIT_BITS)


@dataclass(frozen=True)
class Group:
    """One merge of neighbouring digits, lowest first: sizes and the products that it needs.

    Variables are numbered p_low ... p_{size-1}, then g_0 ... g_{size-2}; a product is a bit set of variables.
    """

    size: int
    needs_equal: bool

    @property
    def _lowest_p(self) -> int:
        return 0 if self.needs_equal else 1

    @property
    def variables(self) -> int:
        """Bits that are opened."""
        return (self.size - self._lowest_p) + (self.size - 1)

    def _p(self, i: int) -> int:
        return 1 << (i - self._lowest_p)

    def less_terms(self) -> list[int]:
        """Products whose sum, with g_{size-1}, is G."""
        above = 0
        terms = []
        for i in range(self.size - 2, -1, -1):
            above |= self._p(i + 1)
            terms.append(above | 1 << (self.size - self._lowest_p + i))
        return terms

    def equal_term(self) -> int:
        """The product that is P."""
        return sum(self._p(i) for i in range(self.size))

    def monomials(self) -> list[int]:
        """Products of two or more masks that the dealer shares, ascending."""
        return _monomials(self)


@cache
def _monomials(group: Group) -> list[int]:
    terms = group.less_terms() + ([group.equal_term()] if group.needs_equal else [])
    wanted = {subset for term in terms for subset in range(1, term + 1) if subset & term == subset}
    return sorted(subset for subset in wanted if subset.bit_count() >= 2)


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
        """Products of the bits of r, once, and products of masks for each job."""
        leaves = max(digit_count(width) for width, _ in self.jobs) * _MONOMIALS
        return leaves * bits.plane_bytes(self.elements) + self._sum(lambda group: len(group.monomials()))

    def _sum(self, planes_of: object) -> int:
        assert callable(planes_of)
        total = 0
        for width, numbers in self.jobs:
            total += numbers * sum(planes_of(g) for level in merge_plan(digit_count(width)) for g in level)
        return total * bits.plane_bytes(self.elements)


def deal_borrows(dealer: Dealer, mask: Tensor, jobs: tuple[tuple[int, int], ...]) -> None:
    """The dealer's side of `borrows`. Shapes: mask int64 [n]."""
    width = max(width for width, _ in jobs)
    dealer.share_planes(_bit_products(ring.low(mask, width), digit_count(width)))
    row = bits.plane_bytes(mask.numel())
    for level in range(max(len(merge_plan(digit_count(width))) for width, _ in jobs)):
        for group, numbers in _groups_at(jobs, level):
            masks = dealer.mask_planes((group.variables, numbers, row))
            products = [_and_all(masks, subset) for subset in group.monomials()]
            if products:
                dealer.share_planes(torch.stack(products))


def borrows(party: Party, numbers: list[tuple[int, Tensor]]) -> list[Tensor]:
    """XOR shares of [c mod 2^width < r mod 2^width] for each job (width, c).

    Shapes: c int64 [J, n] -> uint8 [J, ceil(n / 8)]. All jobs share the dealt bits of r.
    """
    count = numbers[0][1].shape[1]
    jobs = tuple((width, c.shape[0]) for width, c in numbers)
    row = bits.plane_bytes(count)
    digits = digit_count(max(width for width, _ in jobs))
    products = party.correlation_planes((digits, _MONOMIALS, row))
    leaves = [_leaves(party, ring.low(c, width), products[: digit_count(width)]) for width, c in numbers]
    for level in range(max(len(merge_plan(digit_count(width))) for width, _ in jobs)):
        leaves = _merge(party, leaves, level, [width for width, _ in jobs])
    return [less[0] for less, _ in leaves]


def _groups_at(jobs: tuple[tuple[int, int], ...], level: int) -> list[tuple[Group, int]]:
    """The groups of one level over all jobs, in the order in which both sides draw for them."""
    found = []
    for width, numbers in jobs:
        plan = merge_plan(digit_count(width))
        if level < len(plan):
            found += [(group, numbers) for group in plan[level]]
    return found


def _bit_products(mask: Tensor, digits: int) -> Tensor:
    """Products of the bits of each digit of r. Shapes: int64 [n] -> uint8 [digits, 15, row], subset s at s - 1."""
    planes = bits.to_planes(mask, min(digits * DIGIT_BITS, ring.WORD_BITS)).reshape(digits, DIGIT_BITS, -1)
    products: list[Tensor] = []
    for subset in range(1, _MONOMIALS + 1):
        lowest = (subset & -subset).bit_length() - 1
        rest = subset & (subset - 1)
        products.append(planes[:, lowest] & products[rest - 1] if rest else planes[:, lowest])
    return torch.stack(products, 1)


def _and_all(planes: Tensor, subset: int) -> Tensor:
    chosen = [planes[i] for i in range(planes.shape[0]) if subset >> i & 1]
    product = chosen[0]
    for plane in chosen[1:]:
        product = product & plane
    return product


def _leaves(party: Party, c: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """(less, equal) of every digit. Shapes: c [J, n], products [digits, 15, row] -> two of [digits, J, row]."""
    digits, _, row = products.shape
    numbers = c.shape[0]
    planes = bits.to_planes(c, digits * DIGIT_BITS).bitwise_not_()
    inverse = planes.reshape(numbers, digits, DIGIT_BITS, row).permute(1, 2, 0, 3)  # [digits, 4, J, row]: not c
    # Coefficients of the bit products, built from the lowest bit up: with q = not c_j + r_j,
    # equal := q equal and less := (not c_j) r_j + q less.
    zero = torch.zeros_like(inverse[:, 0])
    equal: list[Tensor] = [torch.full_like(zero, bits.ALL_ONES)]
    less: list[Tensor] = [zero]
    for j in range(DIGIT_BITS):
        not_c = inverse[:, j]
        kept_equal = [not_c & a for a in equal]
        kept_less = [not_c & a for a in less]
        less = kept_less + [a ^ not_c if s == 0 else a for s, a in enumerate(less)]
        equal = kept_equal + equal
    less_share = less[0] if party.index == 0 else zero
    equal_share = equal[0] if party.index == 0 else zero
    for subset in range(1, _MONOMIALS + 1):
        plane = products[:, subset - 1].unsqueeze(1)
        less_share = less_share ^ (less[subset] & plane)
        equal_share = equal_share ^ (equal[subset] & plane)
    return less_share, equal_share


def _merge(
    party: Party, leaves: list[tuple[Tensor, Tensor]], level: int, widths: list[int]
) -> list[tuple[Tensor, Tensor]]:
    """One level of every job, in one round."""
    plans = [merge_plan(digit_count(width)) for width in widths]
    pending = []  # job, group, first digit, mask shares, shared products
    opened: list[Tensor] = []
    for job, plan in enumerate(plans):
        first = 0
        for group in plan[level] if level < len(plan) else ():
            less, equal = leaves[job]
            _, numbers, row = less.shape
            masks = party.mask_planes((group.variables, numbers, row))
            count = len(group.monomials())
            shared = party.correlation_planes((count, numbers, row)) if count else masks[:0]
            inputs = torch.cat(
                [
                    equal[first + (0 if group.needs_equal else 1) : first + group.size],
                    less[first : first + group.size - 1],
                ]
            )
            opened.append(inputs ^ masks)
            pending.append((job, group, first, masks, shared))
            first += group.size
    public = party.open_planes(*opened)
    merged: list[list[tuple[Tensor, Tensor]]] = [[] for _ in leaves]
    for (job, group, first, masks, shared), values in zip(pending, public, strict=True):
        table = {1 << i: masks[i] for i in range(group.variables)}
        table |= {subset: shared[i] for i, subset in enumerate(group.monomials())}
        less_share = leaves[job][0][first + group.size - 1]
        for term in group.less_terms():
            less_share = less_share ^ _expand(party, values, table, term)
        equal_share = _expand(party, values, table, group.equal_term()) if group.needs_equal else less_share
        merged[job].append((less_share, equal_share))
    return [
        (torch.stack([g for g, _ in parts]), torch.stack([p for _, p in parts])) if parts else leaves[job]
        for job, parts in enumerate(merged)
    ]


def _expand(party: Party, values: Tensor, table: dict[int, Tensor], term: int) -> Tensor:
    """A share of the product over `term` of (opened value + mask): fold out one variable after the other."""
    one = torch.full_like(values[0], bits.ALL_ONES if party.index == 0 else 0)
    subsets = [s for s in range(term + 1) if s & term == s]
    current = {s: table[s] if s else one for s in subsets}
    for i in range(values.shape[0]):
        variable = 1 << i
        if term & variable:
            current = {
                s: (values[i] & share) ^ current[s | variable] for s, share in current.items() if not s & variable
            }
    return current[0]
