"""Whether what is to be zero is zero, at a point that is drawn after all inputs have come."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.cost import Cost
from secure.protocols.core.galois_ring import multiply, weighted_sum
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.one_hot import seed_of
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party

_HASH_BYTES = hashlib.sha256().digest_size


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
        return self.outline()

    def outline(self) -> bytes:
        return b""

    def evaluate(self, party: Party) -> bytes:
        mine = os.urandom(SEED_BYTES)
        theirs = party.swap(mine)
        return seed_of((mine, theirs) if party.index == 0 else (theirs, mine))


@dataclass(frozen=True, eq=False)
class SquaresVanish(Gate[bool]):
    """Whether v = sum_n rho_n y_n^2 + addend is zero, of elements of the ring of `core.galois_ring`.

    With y = c - r:  y^2 = c^2 - 2 c [r] + [r^2]. The dealer shares r^2, the rest is local. So P0 has v_0 and P1 has v_1
    with v = v_0 + v_1, and they compare v_0 with -v_1: each sends the SHA-256 of its own and of who it is.

    Shapes: y, rho [N, 43], addend [43]. Encoding: pair in Z_2^k, mask dealt; rho public; addend a share.
    Cost: 1 round, 32 bytes; the dealer sends 43 N ceil(k/8).
    Error: yes where v is not zero, only with a collision of SHA-256. Reveals: whether v is zero, to P0 and P1. Where it
    is, each hears the hash of what it holds itself. Where it is not, what is hashed is uniform to the other one, as its
    share of r^2 is. The dealer, who hears nothing, says yes.
    Source: the squares as in `Square`.
    """

    name = "squares-vanish"
    y: Pair
    weights: Tensor
    addend: Tensor

    def cost(self) -> Cost:
        dealt = self.y.opened.numel() * ring.element_bytes(self.y.bits)
        return Cost(rounds=1, online_bytes=_HASH_BYTES, dealer_bytes=dealt)

    def deal(self, dealer: Dealer) -> bool:
        assert self.y.mask is not None
        dealer.share(multiply(self.y.mask, self.y.mask), self.y.bits)
        return self.outline()

    def outline(self) -> bool:
        return True

    def evaluate(self, party: Party) -> bool:
        assert self.y.mask is not None
        c, bits = self.y.opened, self.y.bits
        local = multiply(c, c - 2 * self.y.mask if party.index == 0 else -2 * self.y.mask)
        squares = local + party.correlation(tuple(c.shape), bits)
        v = weighted_sum(self.weights, squares, bits) + self.addend
        claim = bytes(transfer.payload_of([ring.pack(v if party.index == 0 else -v, bits)]))
        return party.swap(_hash(party.index, claim)) == _hash(1 - party.index, claim)


def _hash(index: int, claim: bytes) -> bytes:
    """What P_index sends who claims this. The parties' differ, so that neither can send back what it heard."""
    return hashlib.sha256(bytes([index]) + claim).digest()
