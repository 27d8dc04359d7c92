"""Whether what is to be zero is zero, at a point that is drawn after all inputs have come."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.galois_ring import DEGREE, multiply, weighted_sum
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.one_hot import seed_of
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True, eq=False)
class Toss(Gate[bytes]):
    """A seed that both parties know, and nobody knew before: each sends 16 bytes that it draws now.

    Who learns what one party holds, as its client may, does not know the seed before the other one has drawn, too.

    Cost: 1 round, 16 bytes; the dealer sends nothing, and gets no seed.
    Error: none. Reveals: the seed, to P0 and P1.
    """

    name = "toss"

    def cost(self) -> Cost:
        return Cost(rounds=1, online_bytes=SEED_BYTES)

    def deal(self, dealer: Dealer) -> bytes:
        return b""

    def evaluate(self, party: Party) -> bytes:
        mine = os.urandom(SEED_BYTES)
        theirs = party.swap(mine)
        return seed_of((mine, theirs) if party.index == 0 else (theirs, mine))


@dataclass(frozen=True, eq=False)
class SquaresVanish(Gate[bool]):
    """Whether v = sum_n rho_n y_n^2 + addend is zero, of elements of the ring of `core.galois_ring`.

    With y = c - r:  y^2 = c^2 - 2 c [r] + [r^2]. The dealer shares r^2, the rest is local, and v is opened as it is.

    Shapes: y, rho [N, 43], addend [43]. Encoding: pair in Z_2^k, mask dealt; rho public; addend a share.
    Cost: 1 round, 43 ceil(k/8) bytes; the dealer sends 43 N ceil(k/8).
    Error: none. Reveals: v to P0 and P1. Where it is zero each share is the other's negative, hence known to the party
    that is sent it. Where it is not, a share is hidden by that of r^2, so that no more than v is told. The dealer, who
    hears nothing, says yes.
    Source: the squares as in `Square`.
    """

    name = "squares-vanish"
    y: Pair
    weights: Tensor
    addend: Tensor

    def cost(self) -> Cost:
        each = DEGREE * ring.element_bytes(self.y.bits)
        return Cost(rounds=1, online_bytes=each, dealer_bytes=self.y.opened.shape[0] * each)

    def deal(self, dealer: Dealer) -> bool:
        assert self.y.mask is not None
        dealer.share(multiply(self.y.mask, self.y.mask), self.y.bits)
        return True

    def evaluate(self, party: Party) -> bool:
        assert self.y.mask is not None
        c, bits = self.y.opened, self.y.bits
        local = multiply(c, c - 2 * self.y.mask if party.index == 0 else -2 * self.y.mask)
        squares = local + party.correlation(tuple(c.shape), bits)
        v = weighted_sum(self.weights, squares, bits) + self.addend
        return not bool(party.open(v, torch.zeros_like(v), bits).any())
