"""Comparison and selection in one round: b φ for b = [x < t] and any φ that the dealer knows, from c = x + r.

With c - t and r cut into m digits, sign included, b is a sum over the integers whose summands exclude each other:
    b = g_{m-1} + p_{m-1} (g_{m-2} + p_{m-2} (... + p_1 g_0)),
with "less" (g) and "equal" (p) of each digit as in `borrow`, but for the highest one: there g is the top bit of the
digits' difference, which is x's sign unless a borrow from below turns it, and that happens where the digits are equal:
one bit more is compared than x - t has, so the difference is never 2^(d-1) just above a borrow.

`borrow` opens leaves, merges them, and opens the result. Here each leaf u is opened once, as v = u ⊕ a, and
u = v + (1 - 2 v) a: so b φ is a public combination of φ times the products of masks a that occur, which the dealer
shares as numbers. Both evaluations are folds, one variable at a time, by `selection.select`.

*Why that reveals nothing.* All that is opened are leaves, each under a bit a of its own that is uniform, drawn for it
alone and used in no other opening; so the opened bits are uniform and independent of x, of r and of what was opened
before. What the dealer shares about a, r and φ is shared additively: P0's half comes from its seed, P1's is uniform
whatever the value.

Shapes: J thresholds, K payloads, n elements, row = ceil(n / 8).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from secure.protocols.core import bits, integer_functions, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import comparison, selection
from secure.protocols.masked.comparison.borrow import bit_products, digits_of
from secure.protocols.masked.comparison.comparing import Thresholds
from secure.protocols.masked.comparison.digits import Plan, digit_count
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party

_DIGITS = 2, 3, 4


class Payload(NamedTuple):
    """A φ: the threshold whose b it is multiplied by, and the ring in which the product is wanted."""

    threshold: int
    bits: int


@dataclass(frozen=True)
class Choice:
    """How thresholds are compared in one round, for these payloads: into how many digits numbers are cut.

    It compares `width` bits, sign included, which the pair's ring must have.
    """

    thresholds: Thresholds
    payloads: tuple[Payload, ...]

    @property
    def plan(self) -> Plan:
        """Digits of one size, as many as for which the dealer sends least."""

        def dealt(digits: int) -> int:
            table = digits << digit_count(self.thresholds.width + 1, digits)
            return table // 8 + (3 << (digits - 1)) * sum(ring.element_bytes(each.bits) for each in self.payloads)

        digits = min(_DIGITS, key=dealt)
        return Plan(digit_count(self.thresholds.width + 1, digits), digits, ())

    @property
    def width(self) -> int:
        """Bits that are compared."""
        return self.plan.digits * self.plan.digit_bits

    @property
    def variables(self) -> int:
        """Leaves of a threshold: g of every digit, and p of all but the lowest."""
        return 2 * self.plan.digits - 1

    @property
    def products(self) -> int:
        """Products of masks that occur for a threshold, the empty one not counted."""
        return (3 << (self.plan.digits - 1)) - 2

    @property
    def groups(self) -> list[tuple[int, tuple[Payload, ...]]]:
        """Neighbouring payloads that are wanted in the same ring: they are shared together."""
        return [(ring_bits, tuple(group)) for ring_bits, group in itertools.groupby(self.payloads, lambda p: p.bits)]

    def cost(self, elements: int) -> Cost:
        """Cost of the choice, the opening of its leaves included."""
        row, plan = bits.plane_bytes(elements), self.plan
        words = sum(ring.element_bytes(each.bits) for each in self.payloads)
        opened = self.variables * len(self.thresholds.values) * row
        return Cost(1, opened, plan.digits * plan.monomials * row + self.products * words * elements)

    def deal(self, dealer: Dealer, pair: Pair, numbers: Iterable[Tensor]) -> None:
        """The dealer's side. numbers: the φ of each payload. Shapes: pair any, int64 [n] each."""
        mask = self.thresholds.seen(pair, at_dealer=True).mask
        assert mask is not None
        plan, elements, thresholds = self.plan, mask.numel(), len(self.thresholds.values)
        dealer.share_planes(bit_products(digits_of(mask, self.width, plan)))
        planes = dealer.mask_planes((self.variables, thresholds, bits.plane_bytes(elements)))
        of_g, of_p = bits.from_planes(planes, elements).split([plan.digits, plan.digits - 1])
        table = bits.products(of_p, 1)
        parts = [table[1:], *(mask_of_g * table[:: 1 << i] for i, mask_of_g in enumerate(of_g))]
        products = torch.cat(parts)
        given = iter(numbers)
        for ring_bits, group in self.groups:
            which = integer_functions.numbers(tuple(each.threshold for each in group), mask.device)
            dealer.share(products[:, which] * torch.stack(list(itertools.islice(given, len(group)))), ring_bits)


class Choosing:
    """A choice at a party: `masked` is to be opened, then `finish` gives the products."""

    def __init__(self, party: Party, choice: Choice, pair: Pair) -> None:
        plan, opened = choice.plan, choice.thresholds.seen(pair, at_dealer=False).opened
        self._party, self._choice, self._elements = party, choice, opened.numel()
        row = bits.plane_bytes(opened.numel())
        products = party.correlation_planes((plan.monomials, plan.digits, row))
        not_c = digits_of(choice.thresholds.shifted(opened), choice.width, plan).bitwise_not_()
        less, equal = comparison.leaves(not_c, products, first=party.index == 0)
        half = 1 << (plan.digit_bits - 1)
        below, _ = comparison.leaves(not_c[:, -1:, :-1], products[: half - 1, -1:], first=party.index == 0)
        less[-1] = below[0] ^ products[half - 1, -1]
        if party.index == 0:
            less[-1] ^= not_c[:, -1, -1].bitwise_not()
        leaves = torch.cat([less, equal[1:]])
        self.masked = leaves ^ party.mask_planes(tuple(leaves.shape))

    def finish(self, opened: Tensor, wholes: Sequence[Tensor]) -> list[Tensor]:
        """Shares of b φ for each payload. wholes: shares of the φ. Shapes: uint8 as `masked`, int64 [n] -> [n]."""
        choice, party = self._choice, self._party
        digits, which = choice.plan.digits, [each.threshold for each in choice.payloads]
        found = bits.from_planes(opened, self._elements, torch.uint8)[:, which]
        v_of_g, v_of_p = found.split([digits, digits - 1])
        shared = [
            party.correlation((choice.products, len(group), self._elements), ring_bits)
            for ring_bits, group in choice.groups
        ]
        table, *with_g = torch.cat(shared, 1).split(
            [(1 << (digits - 1)) - 1, *(1 << i for i in reversed(range(digits)))]
        )
        table = torch.cat([torch.stack(list(wholes)).unsqueeze(0), table])
        below = None
        for i in range(digits):
            here = _selected(v_of_g[i], table[:: 1 << i], with_g[i])
            below = here if below is None else here + _selected(v_of_p[i - 1], below[0::2], below[1::2])
        assert below is not None
        return list(below[0])


def _selected(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """`selection.select` with one bit for every entry of tables. Shapes: uint8 [K, n], int64 [T, K, n] -> the same."""
    chosen = selection.select(bit.expand(masked.shape).reshape(-1), shared.reshape(-1), masked.reshape(-1))
    return chosen.reshape(masked.shape)
