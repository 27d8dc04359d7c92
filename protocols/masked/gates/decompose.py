"""All low bits of a shared number, by a carry tree on packed bit planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from secure.protocols.core import bits, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import selection
from secure.protocols.core.secret import Primitive, Reference, Secret
from secure.protocols.masked.comparison.comparing import deal_bit_masks, open_bits, opened_bits_cost
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True)
class _Level:
    """One level of the tree over `places` places: each place in the upper half of a block of 2 `half` is joined with
    all below it in that block, whose (g, p) stands at the top of the lower half."""

    places: int
    half: int

    @cached_property
    def high(self) -> list[int]:
        """The places that are joined."""
        return [i for i in range(self.places) if i & self.half]

    @cached_property
    def low(self) -> list[int]:
        """The place below each of them."""
        return [i // self.half * self.half - 1 for i in self.high]

    @property
    def lowest(self) -> int:
        """How many of them are in the lowest block, below which nothing can be passed on: their p is not needed."""
        return min(self.half, self.places - self.half)

    @cached_property
    def blocks(self) -> list[int]:
        """The places below, each once."""
        return sorted(set(self.low))

    @cached_property
    def block_of(self) -> list[int]:
        """The position in `blocks` of each joined place."""
        return [self.blocks.index(place) for place in self.low]

    @property
    def opened_planes(self) -> int:
        """p of the upper places, g of the lower ones, and p of these but for the lowest."""
        return len(self.high) + 2 * len(self.blocks) - 1

    @property
    def shared_planes(self) -> int:
        """Products of masks: with g below for every joined place, with p below for those above the lowest block."""
        return 2 * len(self.high) - self.lowest

    def products(self, upper: Tensor, lower: Tensor) -> Tensor:
        """Every product that the level needs. Shapes: [high, row], [2 blocks - 1, row] -> [shared_planes, row]."""
        with_g = upper & lower[self.block_of]
        # p of block b stands at blocks + b - 1, as the lowest one has none.
        of_p = [len(self.blocks) + b - 1 for b in self.block_of[self.lowest :]]
        return torch.cat([with_g, upper[self.lowest :] & lower[of_p]])

    def crossed(self, upper: Tensor, lower: Tensor, upper_mask: Tensor, lower_mask: Tensor) -> Tensor:
        """The part v b + a w of each product (v + a)(w + b), for public v and w."""
        return self.products(upper, lower_mask) ^ self.products(upper_mask, lower)


@cache
def levels(places: int) -> tuple[_Level, ...]:
    """The tree, lowest level first."""
    return tuple(_Level(places, 1 << i) for i in range(max(places - 1, 0).bit_length()))


@dataclass(frozen=True, eq=False)
class Decompose(Gate[Tensor]):
    """The `count` lowest bits of x in two's complement, each as a number 0 or 1, from a pair c = x + r.

    x = c - r, so bit j of x is c_j ⊕ r_j ⊕ B_j with the borrow B_j out of the places below j. At one place a borrow
    comes up where g = (not c_j) r_j, and one from below is passed on where p = not (c_j ⊕ r_j): of shared r_j and
    public c_j both are local. Neighbouring stretches are joined by
        (g, p) of both  =  (g_high ⊕ p_high g_low, p_high p_low),
    in the tree of Sklansky, whose levels double the stretches: place j holds B_{j+1} after log2(count) rounds. All
    products of a level are on packed planes, by masks whose products the dealer shares; a g or p that occurs in many
    products is opened once. At last each bit b is opened as v = b ⊕ ρ, and b = v + (1 - 2 v) ρ is local.

    Comparison does not come this way: with one borrow and not all of them, wider digits take fewer rounds
    (`borrow.py`: a sign of 32 bits takes two there at the most, and five here).

    Shapes: any -> [..., count], lowest bit first. Encoding: pair in Z_2^k, count <= k -> share in Z_2^bits, no
    fraction bits. Cost: ceil(log2(count - 1)) + 1 rounds; bits and the dealer's planes by level as in `_Level`, and
    ceil(bits/8) bytes for each bit from the dealer. Error: none. Reveals: nothing; all opened bits are uniform.
    Source: bit decomposition as in Damgård et al. 2006, by the parallel prefix of Sklansky 1960.
    """

    name = "decompose"
    pair: Pair
    count: int
    bits: int

    def cost(self) -> Cost:
        elements = self.pair.opened.numel()
        row = bits.plane_bytes(elements)
        tree = levels(self.count - 1)
        opened = sum(level.opened_planes for level in tree) * row
        shared = (self.count + sum(level.shared_planes for level in tree)) * row
        words = self.count * elements * ring.element_bytes(self.bits)
        return Cost(len(tree), opened, shared + words) + opened_bits_cost(self.count, elements)

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        dealer.share_planes(bits.to_planes(mask, self.count))
        row = bits.plane_bytes(mask.numel())
        for level in levels(self.count - 1):
            upper, lower = dealer.mask_planes((level.opened_planes, row)).split(self._parts(level))
            dealer.share_planes(level.products(upper, lower))
        dealer.share(deal_bit_masks(dealer, self.count, mask.numel()), self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown((*self.pair.opened.shape, self.count))

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1)
        public = bits.to_planes(opened, self.count)
        shared = party.correlation_planes(tuple(public.shape))
        # c_j ⊕ r_j, without the borrows.
        differ = shared ^ public if party.index == 0 else shared
        generated = public[:-1].bitwise_not() & shared[:-1]
        passed = differ[:-1].bitwise_not() if party.index == 0 else differ[:-1]
        for level in levels(self.count - 1):
            generated, passed = self._joined(party, level, generated, passed)
        differ[1:] ^= generated
        opened_bits = open_bits(party, differ, opened.numel())
        mask = party.correlation((self.count, opened.numel()), self.bits)
        ones = torch.full_like(mask, int(party.index == 0))
        share = selection.select(*(t.reshape(-1) for t in (opened_bits, ones, mask)))
        return share.reshape(self.count, *self.pair.opened.shape).movedim(0, -1)

    def _joined(self, party: Party, level: _Level, generated: Tensor, passed: Tensor) -> tuple[Tensor, Tensor]:
        """g and p of every place after one level, in one round. Shapes: all [places, row]."""
        mine = torch.cat([passed[level.high], generated[level.blocks], passed[level.blocks[1:]]])
        masks = party.mask_planes(tuple(mine.shape))
        (values,) = party.open_planes(mine ^ masks)
        parts = self._parts(level)
        upper, lower = values.split(parts)
        products = party.correlation_planes((level.shared_planes, mine.shape[1]))
        products = products ^ level.crossed(upper, lower, *masks.split(parts))
        if party.index == 0:
            products ^= level.products(upper, lower)
        with_g, with_p = products.split([len(level.high), level.shared_planes - len(level.high)])
        generated, passed = generated.clone(), passed.clone()
        generated[level.high] ^= with_g
        passed[level.high[level.lowest :]] = with_p
        return generated, passed

    @staticmethod
    def _parts(level: _Level) -> list[int]:
        return [len(level.high), level.opened_planes - len(level.high)]


@Primitive
def decompose(clear: Reference, x: Secret, count: int) -> Secret:
    """The `count` lowest bits of x in two's complement, each 0 or 1 with no fraction bits, on a new last axis."""
    number = torch.round(clear.bounded("decompose", clear.value(x)) * 2.0**x.fraction_bits).to(torch.int64)
    return clear.secret(ring.to_bits(number, count).to(torch.float64), 0)


def find_bits(masked: Masked, x: Secret, count: int) -> Secret:
    """`decompose` by this gate."""
    bits = masked.policy.ring_bits(x.fraction_bits)
    share = masked.run(Decompose(masked.pair(x, count, dealt=False), count, bits))
    return masked.of_share(share, bits, 0)
