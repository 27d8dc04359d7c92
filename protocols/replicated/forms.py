"""The rings of a secret's shares: lifting to a larger one, truncating to a smaller one."""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Meter
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import MaskedProtocol
from secure.protocols.masked.sharing.three_parts import two_parts_given
from secure.protocols.replicated.gates.resharing import LiftShares, Reshare, Truncate
from secure.protocols.replicated.neighbours import Neighbours
from secure.protocols.replicated.roles import PARTIES
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.shares import Shares, pair_of


class Replicated(MaskedProtocol[ReplicatedSecret]):
    """What this family's programs run on."""

    meter: Meter
    neighbours: Neighbours


PRODUCT_BITS = 48
"""The ring of factors: two scales of 16 bits and a value of 14."""


def shares_in(replicated: Replicated, x: ReplicatedSecret, bits: int, *, larger: int = ring.WORD_BITS) -> Shares:
    """x's shares in a ring of at least `bits` bits; if they have to be lifted, to one of `larger`."""
    if x.shares.bits < bits:
        x.shares = replicated.run(LiftShares(x.shares, pair_of(replicated.role, x.shares), max(bits, larger)))
    return x.shares


def scaled_shares(replicated: Replicated, x: Secret, fraction_bits: int, bits: int = 0) -> Shares:
    """x at a finer scale, in a ring that holds the policy's values: x mod 2^k becomes x 2^s mod 2^(k + s).

    bits: that the ring is to have at least.
    """
    shift = fraction_bits - x.fraction_bits
    needed = max(replicated.policy.ring_bits(fraction_bits), bits) - shift
    shares = shares_in(replicated, replicated.own(x), needed)
    larger = shares.map(lambda t: t << shift) if shift else shares
    return Shares(larger.own, larger.following, min(shares.bits + shift, ring.WORD_BITS))


def floor(replicated: Replicated, pair: Pair, shift: int, fraction_bits: int) -> ReplicatedSecret:
    """Truncation without the unit that it may be too large by."""
    shares = replicated.run(Truncate(pair, shift))
    carry = replicated.run(Carry(pair.low_part(shift, at_dealer=replicated.at_dealer), replicated.profile))
    return ReplicatedSecret(replicated, fraction_bits, shares.plus(replicated.run(Reshare(-carry, shares.bits))))


def shares_given(share: Tensor | None, shape: tuple[int, ...], bits: int) -> Shares:
    """The two parts that a client or model owner made. Shapes: share [2, *shape]."""
    own, following = two_parts_given(share, shape)
    return Shares(own, following, bits)


def public_shares(index: int, number: Tensor) -> Shares:
    """Party index's shares of what all parties know: x_0 is the number, the others are zero."""
    own = number if index == 0 else torch.zeros_like(number)
    following = number if index == PARTIES - 1 else torch.zeros_like(number)
    return Shares(own, following, ring.WORD_BITS)
