"""2^(-u) by a multiplicative mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.comparing import (
    Thresholds,
    compare,
    deal_bit_masks,
    deal_comparison,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from protocols.beaver.gates.opening import unknown
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import local, ring, tables
from protocols.core.cost import Cost

FRACTION_BITS = 16  # of u
RANGE_BITS = 4  # results below 2^-16 are less than one unit: they are zero
LOWEST = -0.25  # of u: the caller may subtract from something a little smaller than the maximum
FACTOR_BITS = 14  # of the dealer's 2^r, which is at least 1
PUBLIC_BITS = 31  # of 2^-c, which may be as small as 2^-16 and then meets a 2^r of up to 2^16
RING_BITS = PUBLIC_BITS + FACTOR_BITS + 3  # results are below 2
_WIDTH = RANGE_BITS + FRACTION_BITS
_GUARD = round(-LOWEST * 2**FRACTION_BITS)
_COMPARED = Thresholds((round(15.75 * 2**FRACTION_BITS),), 31 - 14, 14)  # a quarter is what it may be wrong by
_WORDS = 4


@dataclass(frozen=True, eq=False)
class Exp2Negative(Gate[Tensor]):
    """2^(-u), and zero from u = 15.75 on, from a pair c = u + r that exists already.

    Let c and r be reduced mod 2^20 (u < 16 with 16 fraction bits) and w = [c < r], which tells whether u + r wrapped:
        2^(-u) = 2^(-c) 2^r (1 - w) + 2^(-c - 16) 2^r w      for 0 <= u < 16.
    Powers of c are public; the dealer shares 2^r. With s = [u < 15.75], or from 15.5 on zero, both bits are opened
    under masks σ and ω, and shares of 2^r, σ 2^r, ω 2^r and σω 2^r give every product locally. All of this is done
    for u + 1/4, so that u may be a little below zero.

    Shapes: any. Encoding: pair in Z_2^32 or larger with 16 fraction bits, -1/4 <= u < 2^14
    -> share in Z_2^48 with `SCALE` = 45 fraction bits.
    Cost: comparisons of 16 bits and of 20 bits in the same round, one round of two bits; the dealer sends their
    correlations and 24 bytes per element.
    Error: 1e-4 after truncation. Reveals: nothing new.
    Source: multiplicative masking in the exponent as in the project's design notes.
    """

    name = "exp2-negative"
    SCALE = PUBLIC_BITS + FACTOR_BITS
    pair: Pair

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        comparison = thresholds_cost(_COMPARED, count, ((_WIDTH, 1),))
        words = Cost(dealer_bytes=_WORDS * ring.element_bytes(RING_BITS) * count)
        return comparison + opened_bits_cost(2, count) + words

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        deal_comparison(dealer, self.pair, _COMPARED, (((_WIDTH, 1), mask),))
        small, wrapped = deal_bit_masks(dealer, 2, mask.numel())
        residue = ring.low(mask, _WIDTH)
        fraction = tables.power_of_two(ring.low(residue, FRACTION_BITS))
        power = tables.rounded(fraction << (residue >> FRACTION_BITS), tables.SCALE_BITS - FACTOR_BITS)
        for factor in (power, power * small, power * wrapped, power * small * wrapped):
            dealer.share(factor, RING_BITS)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        shape = tuple(self.pair.opened.shape)
        opened = self.pair.opened.reshape(-1)
        count = (opened.numel(),)
        guarded = ring.low(opened + _GUARD, _WIDTH)
        small, (wrapped,) = compare(party, self.pair, _COMPARED, ((_WIDTH, guarded.unsqueeze(0)),))
        chosen = open_bits(party, torch.cat([small, wrapped]), opened.numel())
        shares = [party.correlation(count, RING_BITS) for _ in range(_WORDS)]
        # 2^(-c), corrected for the guard; 2^-16 of it where u + r wrapped.
        exponent = _GUARD - guarded
        small_bit, wrapped_bit = chosen
        result = local.power_products(exponent, small_bit, wrapped_bit, shares, PUBLIC_BITS, RANGE_BITS)
        return result.reshape(shape)
