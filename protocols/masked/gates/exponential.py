"""2^(-u) by a multiplicative mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import powers
from secure.protocols.core.secret import Primitive, Reference, Secret
from secure.protocols.masked.comparison.comparing import deal_bit_masks, open_bits, opened_bits_cost
from secure.protocols.masked.comparison.window import WINDOW_BITS, deal_window, window, window_cost
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party

FRACTION_BITS = 16  # of u
RANGE_BITS = 4  # results below 2^-16 are less than one unit: they are zero
LOWEST = -0.25  # of u: the caller may subtract from something a little smaller than the maximum
FACTOR_BITS = 14  # of the dealer's 2^r, which is at least 1
PUBLIC_BITS = 31  # of 2^-c, which may be as small as 2^-16 and then meets a 2^r of up to 2^16
RING_BITS = PUBLIC_BITS + FACTOR_BITS + 3  # results are below 2
_WIDTH = RANGE_BITS + FRACTION_BITS
DROPPED_BITS = _WIDTH - WINDOW_BITS  # bits of u + 1/2 that are not compared
GUARD = (1 << DROPPED_BITS) - round(LOWEST * 2**FRACTION_BITS)
_WORDS = 3
_ZERO_FROM = 15.5


@dataclass(frozen=True, eq=False)
class Exp2Negative(Gate[Tensor]):
    """2^(-u), and zero from u = 15.5 on, from a pair c = u + r that exists already.

    Let c and r be reduced mod 2^20 (u < 16 with 16 fraction bits) and w = [c < r], which tells whether u + r wrapped:
        2^(-u) = 2^(-c) 2^r (1 - w) + 2^(-c - 16) 2^r w      for 0 <= u < 16.
    All of this is done for U = u + 1/2, so that u may be a little below zero. c and r to a quarter differ by D, the
    floor of 4 U or one more, and D in [1, 64) is what `window` tells, together with w: c and r to a quarter are not
    equal mod 16 then, so the bits below do not matter for w. Elsewhere, from u = 15.25 or 15.5 on, the result is zero.
    Powers of c are public; the dealer shares 2^r. The window's bits A and B are opened under masks α and β, and with
    shares of 2^r, α 2^r and β 2^r both products are local.

    Shapes: any. Encoding: pair in Z_2^32 or larger with 16 fraction bits, -1/4 <= u < 2^14 - 1
    -> share in Z_2^48 with `SCALE` = 45 fraction bits.
    Cost: the window's round and bits, one round of two bits; the dealer sends the window's correlations and 18 bytes
    per element.
    Error: 1e-4 after truncation. Reveals: nothing new.
    Source: multiplicative masking in the exponent as in the project's design notes.
    """

    name = "exp2-negative"
    SCALE = PUBLIC_BITS + FACTOR_BITS
    pair: Pair

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        words = Cost(dealer_bytes=_WORDS * ring.element_bytes(RING_BITS) * count)
        return window_cost(count) + opened_bits_cost(2, count) + words

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        deal_window(dealer, mask, DROPPED_BITS)
        bit_masks = deal_bit_masks(dealer, 2, mask.numel())
        power = powers.power_of_mask(mask, RANGE_BITS, FACTOR_BITS)
        for factor in (power, *(power * bit for bit in bit_masks)):
            dealer.share(factor, RING_BITS)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1) + GUARD
        found = window(party, opened, DROPPED_BITS)
        bits = open_bits(party, found, opened.numel())
        shares = [party.correlation((opened.numel(),), RING_BITS) for _ in range(_WORDS)]
        # 2^(-c), corrected for the guard; 2^-16 of it where u + r wrapped.
        exponent = GUARD - ring.low(opened, _WIDTH)
        result = powers.power_products(exponent, bits, shares, PUBLIC_BITS, RANGE_BITS)
        return result.reshape(tuple(self.pair.opened.shape))


@Primitive
def exp2_negative(clear: Reference, u: Secret) -> Secret:
    """2^(-u) elementwise for -1/4 <= u < 2^14 - 1; zero from u = 15.5 on, and zero or not from u = 15.25 on."""
    value = clear.bounded("exp2_negative", clear.value(u), 2.0 ** (clear.policy.value_bits + 1) - 1)
    if value.numel() and float(value.min()) < LOWEST:
        clear.refuse(f"exp2_negative takes u >= {LOWEST:g}")
    return clear.secret(torch.where(value < _ZERO_FROM, 2.0**-value, 0.0), u.fraction_bits)
