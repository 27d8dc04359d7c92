"""The bit that a probabilistic truncation leaves open."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import selection
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.masked.comparison.borrow import borrows, deal_borrows
from secure.protocols.masked.comparison.comparing import deal_bit_masks, open_bits, opened_bits_cost
from secure.protocols.masked.comparison.digits import BorrowCost
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True, eq=False)
class Carry(Gate[Tensor]):
    """[c mod 2^s < r mod 2^s], for a pair in Z_2^s: what (c >> s) - (r >> s) is too large by.

    Subtracting it turns the truncation into the exact floor, for policies with truncation = "exact".

    Shapes: any. Encoding: pair in Z_2^s -> share in Z_2^64 of 0 or 1. Cost: comparison of s bits, one round of one
    bit; the dealer sends its correlations and 8 bytes per element. Error: none. Reveals: nothing new.
    """

    name = "carry"
    pair: Pair
    profile: Profile = NEAR

    def _job(self) -> tuple[int, int]:
        return self.pair.bits, 1

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        borrow = BorrowCost((self._job(),), count, self.profile)
        return Cost(borrow.rounds, borrow.online_bytes, borrow.dealer_bytes + 8 * count) + opened_bits_cost(1, count)

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        deal_borrows(dealer, (self._job(),), (mask,), self.profile)
        dealer.share(deal_bit_masks(dealer, 1, mask.numel())[0], ring.WORD_BITS)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(1, -1)
        (borrow,) = borrows(party, [(self.pair.bits, opened)], self.profile)
        (opened_bit,) = open_bits(party, borrow, opened.numel())
        mask = party.correlation((opened.numel(),), ring.WORD_BITS)
        share = selection.select(opened_bit, torch.full_like(mask, int(party.index == 0)), mask)
        return share.reshape(tuple(self.pair.opened.shape))
