"""Opening a value under a fresh mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.gate import Gate, OpeningGate
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


def unknown(shape: torch.Size | tuple[int, ...]) -> Tensor:
    """What an opened value is at the dealer: a shape."""
    return torch.empty(tuple(shape), dtype=torch.int64, device="meta")


@dataclass(frozen=True, eq=False)
class Open(OpeningGate):
    """c = x + r in Z_2^bits, r = r_0 + r_1 with r_i expanded from the seed that P_i shares with the dealer.

    Shapes: any. Encoding: share in Z_2^bits or larger -> pair in Z_2^bits, any fraction bits.
    With `dropped` bits the pair is in Z_2^(bits - dropped), with as many fraction bits less, and its mask not dealt.
    Cost: 1 round, ceil((bits - dropped)/8) bytes per element; the dealer sends nothing.
    Error: none, or as `OpeningGate`. Reveals: c to P0 and P1, which is uniform.
    Source: Beaver, Efficient multiparty protocols using circuit randomization, 1991.
    """

    name = "open"
    x: Tensor
    bits: int

    def cost(self) -> Cost:
        return Cost(rounds=1, online_bytes=self.x.numel() * ring.element_bytes(self.bits - self.dropped))

    def deal(self, dealer: Dealer) -> Pair:
        first, mask = dealer.halves(tuple(self.x.shape))
        return (
            replace(self.outline(), mask=mask - 1) if self.dropped else replace(self.outline(), mask=mask, first=first)
        )

    def outline(self) -> Pair:
        return Pair(unknown(self.x.shape), None, self.bits - self.dropped, dealt=not self.dropped)

    def ahead(self, party: PartyAhead) -> Pair:
        if self.dropped:
            return self.outline()
        return replace(self.outline(), mask=party.mask(tuple(self.x.shape)))

    def evaluate(self, party: Party) -> Pair:
        if self.dropped:
            return self.opened_pair(party, self.x, self.bits)
        mask = party.mask(tuple(self.x.shape))
        return Pair(party.open(self.x, mask, self.bits), mask, self.bits, dealt=True)


@dataclass(frozen=True, eq=False)
class OpenToOne(Gate[Pair]):
    """c = x + r in Z_2^bits for one party alone, r expanded from the seed of the other, P_sender.

    P_sender sends x_s + r, the receiver adds its own share. r is then shared as it is: r at the sender, zero at the
    receiver. The sender's opened half is what it sent: c only where the receiver's own share is zero.

    Shapes: any. Encoding: share in Z_2^bits or larger -> pair in Z_2^bits, any fraction bits.
    Cost: 1 round, in which P_sender sends ceil(bits/8) bytes per element and the receiver an empty message; so no
    sender runs ahead. The dealer sends nothing.
    Error: none. Reveals: c to the receiver, which is uniform to it as it does not know r; nothing to the sender.
    Source: as `Open`.
    """

    name = "open-to-one"
    x: Tensor
    bits: int
    sender: int

    def cost(self) -> Cost:
        sent = self.x.numel() * ring.element_bytes(self.bits)
        return Cost(rounds=1, p0_bytes=sent) if self.sender == 0 else Cost(rounds=1, p1_bytes=sent)

    def deal(self, dealer: Dealer) -> Pair:
        mask = dealer.mask_of(self.sender, tuple(self.x.shape))
        first = mask if self.sender == 0 else torch.zeros((), dtype=torch.int64, device=dealer.device).expand_as(mask)
        return replace(self.outline(), mask=mask, first=first)

    def outline(self) -> Pair:
        return Pair(unknown(self.x.shape), None, self.bits, dealt=True)

    def ahead(self, party: PartyAhead) -> Pair:
        return replace(self.outline(), mask=party.mask_of(self.sender, tuple(self.x.shape)))

    def evaluate(self, party: Party) -> Pair:
        mask = party.mask_of(self.sender, tuple(self.x.shape))
        if party.index == self.sender:
            masked = self.x + mask
            party.open_to_one(masked, self.sender, self.bits)
            return Pair(masked, mask, self.bits, dealt=True)
        message = party.open_to_one(self.x, self.sender, self.bits)
        return Pair(ring.unpack_added(message, self.x, self.bits), mask, self.bits, dealt=True)


@dataclass(frozen=True, eq=False)
class OpenBoth(Gate[tuple[Pair, Pair]]):
    """Two values opened in one round, each as by `Open`.

    Shapes: any two. Encoding: shares in Z_2^x_bits and Z_2^y_bits or larger -> pairs there.
    Cost: 1 round, ceil(bits/8) bytes per element of each; the dealer sends nothing.
    Error: none. Reveals: the masked values, which are uniform.
    """

    name = "open-both"
    x: Tensor
    y: Tensor
    x_bits: int
    y_bits: int

    @property
    def _each(self) -> tuple[Open, Open]:
        return Open(self.x, self.x_bits), Open(self.y, self.y_bits)

    def cost(self) -> Cost:
        count = self.x.numel() * ring.element_bytes(self.x_bits) + self.y.numel() * ring.element_bytes(self.y_bits)
        return Cost(rounds=1, online_bytes=count)

    def deal(self, dealer: Dealer) -> tuple[Pair, Pair]:
        x, y = self._each
        return x.deal(dealer), y.deal(dealer)

    def outline(self) -> tuple[Pair, Pair]:
        x, y = self._each
        return x.outline(), y.outline()

    def ahead(self, party: PartyAhead) -> tuple[Pair, Pair]:
        x, y = self._each
        return x.ahead(party), y.ahead(party)

    def evaluate(self, party: Party) -> tuple[Pair, Pair]:
        x_mask, y_mask = (party.mask(tuple(t.shape)) for t in (self.x, self.y))
        x, y = party.open_all((self.x, x_mask, self.x_bits), (self.y, y_mask, self.y_bits))
        return Pair(x, x_mask, self.x_bits, dealt=True), Pair(y, y_mask, self.y_bits, dealt=True)


@dataclass(frozen=True, eq=False)
class ShareMask(Gate[Pair]):
    """Shares of the mask of a pair that was derived from another one (a shift, a product), in the pair's own ring.

    Shapes: any. Encoding: pair -> the same pair with its mask dealt.
    Cost: no round, the dealer sends ceil(bits/8) bytes per element. Error: none. Reveals: nothing.
    """

    name = "share-mask"
    pair: Pair

    def cost(self) -> Cost:
        return Cost(dealer_bytes=self.pair.opened.numel() * ring.element_bytes(self.pair.bits))

    def deal(self, dealer: Dealer) -> Pair:
        assert self.pair.mask is not None
        first = dealer.share_mask(self.pair.mask, self.pair.bits)
        return Pair(self.pair.opened, self.pair.mask, self.pair.bits, dealt=True, first=first)

    def outline(self) -> Pair:
        return replace(self.pair, mask=None, dealt=True)

    def ahead(self, party: PartyAhead) -> Pair:
        return self.evaluate(party)

    def evaluate(self, party: Party) -> Pair:
        mask = party.correlation(tuple(self.pair.opened.shape), self.pair.bits)
        return Pair(self.pair.opened, mask, self.pair.bits, dealt=True)
