"""The forms of a secret, share and pair, and the ways between them that cost a gate, or none."""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.opening import Open, OpenBoth, ShareMask
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import MaskedProtocol, truncation_shift
from secure.protocols.masked.roles import Party

Dealt = MaskedProtocol[DealtSecret]


def share_in(protocol: Dealt, x: DealtSecret, bits: int) -> Tensor:
    """A share of x in a ring of at least `bits` bits (then x.share_bits), made if need be."""
    if x.share is not None and x.share_bits >= bits:
        return x.share
    if x.pair is None:
        assert x.share is not None
        x.pair = protocol.run(Open(x.share, x.share_bits))
    if x.pair.bits >= bits:
        x.pair = dealt(protocol, x.pair)
        x.share, x.share_bits = unmasked(protocol, x.pair), x.pair.bits
    else:
        whole_bytes = 8 * ring.element_bytes(bits)
        x.share, x.share_bits, x.lifted = protocol.run(Lift(x.pair, whole_bytes)), whole_bytes, True
    return x.share


def opened_in(protocol: Dealt, x: DealtSecret, bits: int) -> Pair:
    """A pair of x in a ring of at least `bits` bits, opened in `bits` bits if need be. Its mask may not be dealt."""
    if x.pair is not None and x.pair.bits >= bits:
        return x.pair
    pair = protocol.run(Open(share_in(protocol, x, bits), bits))
    # Low bits alone, which some gates are content with, are not x.
    if bits >= min(x.share_bits, protocol.policy.ring_bits(x.fraction_bits)):
        x.pair = pair
    return pair


def pair_in(protocol: Dealt, x: DealtSecret, bits: int) -> Pair:
    """A pair of x in a ring of at least `bits` bits with its mask dealt, which x keeps."""
    x.pair = dealt(protocol, opened_in(protocol, x, bits))
    return x.pair


def factor_pair(protocol: Dealt, x: DealtSecret, needed: int, most: int = ring.WORD_BITS) -> Pair:
    """x's pair for a product in that ring: the one that it carries if its ring is wide enough, else a new one.

    A new one is opened in the ring of x's share if that is wide enough, and in `most` bits otherwise: from the
    full ring, the truncated product carries a pair that is again wide enough.
    """
    return pair_in(protocol, x, needed if x.carries(needed) else min(most, x.opening_bits(needed)))


def open_both(protocol: Dealt, x: DealtSecret, y: DealtSecret, needed: int) -> None:
    """Open two secrets in one round."""
    rings = [s.opening_bits(needed) for s in (x, y)]
    shares = [share_in(protocol, s, bits) for s, bits in zip((x, y), rings, strict=True)]
    x.pair, y.pair = protocol.run(OpenBoth(shares[0], shares[1], rings[0], rings[1]))


def share_ring(protocol: Dealt, x: DealtSecret) -> int:
    """A ring in which x is available as a share without an opening."""
    if x.share is not None:
        return x.share_bits
    needed = protocol.policy.ring_bits(x.fraction_bits)
    return x.pair.bits if x.pair is not None and x.pair.bits >= needed else needed


def rescaled(protocol: Dealt, pair: Pair, scale: int, fraction_bits: int) -> DealtSecret:
    """The secret of an opened value, truncated from `scale` to `fraction_bits`."""
    shift = truncation_shift(scale, fraction_bits)
    shifted = pair.shift_right(shift, at_dealer=protocol.at_dealer)
    if protocol.policy.truncation == "exact" and shift:
        carry = protocol.run(Carry(pair.low_part(shift, at_dealer=protocol.at_dealer), protocol.profile))
        return DealtSecret(protocol, fraction_bits, share=protocol.run(Lift(shifted, ring.WORD_BITS)) - carry)
    return DealtSecret(protocol, fraction_bits, pair=shifted)


def dealt(protocol: Dealt, pair: Pair) -> Pair:
    """The pair with shares of its mask at the parties."""
    return pair if pair.dealt else protocol.run(ShareMask(pair))


def unmasked(protocol: Dealt, pair: Pair) -> Tensor:
    """A share of x in the pair's ring: c - r_0 at P0, -r_1 at P1. The mask must be dealt."""
    if pair.opened.is_meta:
        return pair.opened
    assert isinstance(protocol.role, Party) and pair.mask is not None
    return pair.opened - pair.mask if protocol.role.index == 0 else -pair.mask


def share_of_public(protocol: Dealt, number: Tensor) -> Tensor:
    """A share of what everybody knows: itself at P0, zero at P1, its shape at the dealer."""
    return torch.zeros_like(number) if isinstance(protocol.role, Party) and protocol.role.index == 1 else number
