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
from protocols.core import ring, tables
from protocols.core.cost import Cost

FRACTION_BITS = 16  # of u
RANGE_BITS = 4  # results below 2^-16 are less than one unit: they are zero
COMPARE_BITS = 32
FACTOR_BITS = 14  # of the dealer's 2^r, which is at least 1
PUBLIC_BITS = 35  # of 2^-c, which may be as small as 2^-16 and then meets a 2^r of up to 2^16
_WIDTH = RANGE_BITS + FRACTION_BITS
_GUARD = 16  # units added to u: a truncation may leave u one unit below zero. So results end 16 units before u = 16
_WORDS = 4


@dataclass(frozen=True, eq=False)
class Exp2Negative(Gate[Tensor]):
    """2^(-u), and zero from u = 16 on, from a pair c = u + r that exists already.

    Let c and r be reduced mod 2^20 (u < 16 with 16 fraction bits) and w = [c < r], which tells whether u + r wrapped:
        2^(-u) = 2^(-c) 2^r (1 - w) + 2^(-c - 16) 2^r w      for 0 <= u < 16.
    Powers of c are public; the dealer shares 2^r. With s = [u < 16], both bits are opened under masks σ and ω, and
    shares of 2^r, σ 2^r, ω 2^r and σω 2^r give every product locally.

    Shapes: any. Encoding: pair in Z_2^32 or larger with 16 fraction bits, 0 <= u < 2^14 (or one unit below 0)
    -> share in Z_2^64 with `SCALE` = 49 fraction bits.
    Cost: comparison of 32 bits and of 20 bits in the same rounds, one round of two bits; the dealer sends their
    correlations and 32 bytes per element.
    Error: 5e-5 after truncation. Reveals: nothing new.
    Source: multiplicative masking in the exponent as in the project's design notes.
    """

    name = "exp2-negative"
    SCALE = PUBLIC_BITS + FACTOR_BITS
    pair: Pair

    def _threshold(self) -> Thresholds:
        return Thresholds((1 << _WIDTH,), COMPARE_BITS)

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        comparison = thresholds_cost(self._threshold(), count, ((_WIDTH, 1),))
        return comparison + opened_bits_cost(2, count) + Cost(dealer_bytes=_WORDS * 8 * count)

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        deal_comparison(dealer, mask, self._threshold(), ((_WIDTH, 1),))
        small, wrapped = deal_bit_masks(dealer, 2, mask.numel())
        residue = ring.low(mask, _WIDTH)
        fraction = tables.power_of_two(ring.low(residue, FRACTION_BITS))
        power = tables.rounded(fraction << (residue >> FRACTION_BITS), tables.SCALE_BITS - FACTOR_BITS)
        for factor in (power, power * small, power * wrapped, power * small * wrapped):
            dealer.share(factor, ring.WORD_BITS)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        shape = tuple(self.pair.opened.shape)
        opened = self.pair.opened.reshape(-1)
        count = (opened.numel(),)
        guarded = ring.low(opened + _GUARD, _WIDTH)
        small, (wrapped,) = compare(party, opened + _GUARD, self._threshold(), ((_WIDTH, guarded.unsqueeze(0)),))
        chosen = open_bits(party, torch.cat([small, wrapped]), opened.numel())
        power, by_small, by_wrapped, by_both = (party.correlation(count, ring.WORD_BITS) for _ in range(_WORDS))
        kept = chosen.at(0).times(power, by_small)
        both = chosen.at(1).times(kept, chosen.at(0).times(by_wrapped, by_both))
        # 2^(-c), corrected for the guard; 2^-16 of it where u + r wrapped.
        public = _negative_power(guarded - _GUARD)
        result = public * kept + ((public >> (1 << RANGE_BITS)) - public) * both
        return result.reshape(shape)


def _negative_power(x: Tensor) -> Tensor:
    """2^(-x) times 2^35 for -1 < x < 16, in 16 fraction bits."""
    fraction = tables.power_of_two(ring.low(-x, FRACTION_BITS)) << (PUBLIC_BITS - tables.SCALE_BITS)
    return fraction >> -(-x >> FRACTION_BITS)
