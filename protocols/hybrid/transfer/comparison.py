"""What a dealer shares for comparisons, made by two parties of whom each has half of the mask: r = r_0 + r_1.

1. *Bits of r*, XOR-shared, by an adder: with carries c_i, bit i is x_i ⊕ y_i ⊕ c_i, and
   c_{i+1} = c_i ⊕ (x_i ⊕ c_i)(y_i ⊕ c_i), a product of shared bits: one exchange for each bit.
2. *Products of bits*, of every subset of a digit's and of every subset of the masks of a merge: a table of products of
   the first j factors times factor j doubles it, all tables in the same exchange.
3. Products of each g's mask with those of the p above it: one exchange.

What comes out is what `secure.protocols.masked.comparison` deals, share for share in the same order.
Cost: width + the longest table's factors - 1 exchanges, transfers and bits as `Compared` counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secure.protocols.core import bits
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.roles import as_tensor
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing, crossed_bits
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.masked.comparison.comparing import Thresholds
from secure.protocols.masked.comparison.digits import Group, Plan, plan_of


@dataclass(frozen=True)
class Compared:
    """The making of one comparison of `elements` numbers."""

    thresholds: Thresholds
    elements: int

    @property
    def _plan(self) -> Plan:
        return plan_of(*self.thresholds.job, self.elements, self.thresholds.profile)

    @property
    def _groups(self) -> tuple[Group, ...]:
        return tuple(group for level in self._plan.levels for group in level)

    @property
    def _numbers(self) -> int:
        return len(self.thresholds.values)

    @property
    def _width(self) -> int:
        """Bits of r that are wanted, those that are dropped included."""
        return self.thresholds.dropped + self.thresholds.width

    def crossed(self) -> Crossed:
        """What it takes."""
        row = bits.plane_bytes(self.elements)
        return crossed_sum(self._width, row) + crossed_merges(self._plan, self._groups, self._numbers, row)

    def make(self, making: Making, mask: Array) -> None:
        """mask: this party's half of r. Shapes: uint64 [n]."""
        plan, width = self._plan, self.thresholds.width
        row = bits.plane_bytes(self.elements)
        found = bits_of_sum(making.crossing, mask, self._width)[self.thresholds.dropped :]
        making.keep(found[width - 1 :])
        digits = np.zeros((plan.digits * plan.digit_bits, row), np.uint8)
        digits[: width - 1] = found[: width - 1]
        make_merges(making, digits.reshape(plan.digits, plan.digit_bits, row), self._groups, self._numbers)


def make_merges(making: Making, digits: Array, groups: Sequence[Group], numbers: int) -> None:
    """Products of the bits of digits of r, and what merges of `numbers` public numbers' leaves take.

    Shapes: uint8 [digits, bits of each, row].
    """
    crossing, row = making.crossing, digits.shape[-1]
    factors = [digits.transpose(1, 0, 2)]
    masks = [making.mask_planes((group.variables, numbers, row)) for group in groups]
    factors += [mask[: _factors(group)] for group, mask in zip(groups, masks, strict=True)]
    products, *tables = subset_products(crossing, factors)
    making.keep(products)
    of_p = [mask[_factors(group) :] for group, mask in zip(groups, masks, strict=True)]
    items = [
        (g, table[_places_above(group, i)])
        for group, table, g_masks in zip(groups, tables, of_p, strict=True)
        for i, g in enumerate(g_masks)
    ]
    with_g = iter(crossing.bits(items) if items else [])
    for group, table in zip(groups, tables, strict=True):
        several = [subset - 1 for subset in range(1 << _factors(group)) if subset.bit_count() > 1]
        making.keep(np.concatenate([table[several], *(next(with_g) for _ in range(group.size - 1))]))


def crossed_merges(plan: Plan, groups: Sequence[Group], numbers: int, row: int) -> Crossed:
    """What `make_merges` takes."""
    exchanges = _doublings([(plan.digit_bits, plan.digits), *((_factors(g), numbers) for g in groups)])
    with_g = [(width, numbers) for group in groups for width in _above(group)]
    exchanges += [with_g] if with_g else []
    return sum((crossed_bits(items, row) for items in exchanges), Crossed())


def crossed_sum(width: int, row: int) -> Crossed:
    """What `bits_of_sum` takes."""
    return sum((crossed_bits([(1, 1)], row) for _ in range(width - 1)), Crossed())


def bits_of_sum(crossing: Crossing, half: Array, width: int) -> Array:
    """XOR shares of the lowest bits of r_0 + r_1, from this party's r_i. Shapes: uint64 [n] -> uint8 [width, row]."""
    own = bits.to_planes(as_tensor(half), width).numpy()
    found, carry = np.empty_like(own), np.zeros_like(own[0])
    for i in range(width):
        found[i] = own[i] ^ carry
        if i < width - 1:
            # P0 has its x_i, P1 its y_i: each adds it to its share of one factor.
            factors = (found[i], carry) if crossing.index == 0 else (carry, found[i])
            (product,) = crossing.bits([(factors[0], factors[1][None])])
            carry = carry ^ product[0]
    return found


def subset_products(crossing: Crossing, factors: Sequence[Array]) -> list[Array]:
    """XOR shares of the products of every subset but the empty one, of each stack of shared bits.

    Shapes: uint8 [k, ..., row] -> [2^k - 1, ..., row], factor i in bit i of the subset's number.
    """
    tables = [stack[:1] for stack in factors]
    for j in range(1, max(map(len, factors))):
        growing = [i for i, stack in enumerate(factors) if len(stack) > j]
        products = crossing.bits([(factors[i][j], tables[i]) for i in growing])
        for i, product in zip(growing, products, strict=True):
            tables[i] = np.concatenate([tables[i], factors[i][j : j + 1], product])
    return tables


def _doublings(stacks: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The exchanges of `subset_products`, for stacks of so many factors of so many planes."""
    most = max(factors for factors, _ in stacks)
    return [[((1 << j) - 1, planes) for factors, planes in stacks if factors > j] for j in range(1, most)]


def _factors(group: Group) -> int:
    """How many p of a group are masked."""
    return group.size - group.lowest_p


def _above(group: Group) -> Iterator[int]:
    """How many products of p's masks above each g there are."""
    return ((1 << (group.size - 1 - i)) - 1 for i in range(group.size - 1))


def _places_above(group: Group, i: int) -> slice:
    """Where they lie in a group's table, which begins with subset one."""
    step = 1 << (i + 1 - group.lowest_p)
    return slice(step - 1, None, step)
