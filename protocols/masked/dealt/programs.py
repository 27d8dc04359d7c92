"""What is computed in a way of its own where a dealer knows the masks, and the rows of operations for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from secure.protocols.core import primitives, ring, secret
from secure.protocols.core.secret import Secret, row
from secure.protocols.masked.dealt.forms import (
    Dealt,
    factor_pair,
    opened_in,
    pair_in,
    rescaled,
    share_in,
    share_ring,
    unmasked,
)
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gates.lifted import LiftedProduct, LiftedSquare
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.gates.product import Square
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.programs import products
from secure.protocols.masked.protocol import truncation_shift
from secure.protocols.masked.table import ROWS

_BROADCAST = 4  # times: a secret that is so much smaller than another one is cheaper to open than that one


def add(protocol: Dealt, x: Secret, y: Secret) -> Secret:
    """The sum of two pairs where both are carried and wide enough, else of two shares."""
    scale = max(x.fraction_bits, y.fraction_bits)
    first, second = protocol.scaled_up(x, scale), protocol.scaled_up(y, scale)
    wide = any(s.share is not None and s.share_bits == ring.WORD_BITS for s in (first, second))
    if not wide:
        _open_smaller(protocol, first, second, scale)
        if first.pair is not None and second.pair is not None:
            total = first.pair.plus(second.pair)
            if total.bits >= protocol.policy.ring_bits(scale):
                return DealtSecret(protocol, scale, pair=total)
    bits = ring.WORD_BITS if wide else min(share_ring(protocol, first), share_ring(protocol, second))
    share = ring.add(share_in(protocol, first, bits), share_in(protocol, second, bits))
    return DealtSecret(protocol, scale, share=share, share_bits=min(first.share_bits, second.share_bits))


def _open_smaller(protocol: Dealt, x: DealtSecret, y: DealtSecret, fraction_bits: int) -> None:
    """Open what is broadcast to a much larger secret, so that the sum keeps the larger one's pair."""
    small, large = sorted((x, y), key=lambda s: math.prod(s.shape))
    worthwhile = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
    if worthwhile and small.pair is None and large.carries(protocol.policy.ring_bits(fraction_bits)):
        assert large.pair is not None
        opened_in(protocol, small, min(large.pair.bits, small.share_bits))


def truncate(protocol: Dealt, x: Secret, fraction_bits: int) -> Secret:
    """From the pair that x carries, or an opening in the ring of its share."""
    own = protocol.own(x)
    if own.pair is not None:
        return rescaled(protocol, own.pair, own.fraction_bits, fraction_bits)
    gate = Open(share_in(protocol, own, own.share_bits), own.share_bits)
    return protocol.opened(gate, own.share_bits, own.fraction_bits, fraction_bits)


def multiply(
    protocol: Dealt, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """A square takes one pair, and not two. What is broadcast may be lifted where it would be opened for it alone."""
    if x is not y:
        lifted = _lifted_product(protocol, x, y, fraction_bits, value_bits)
        return lifted or products.multiply(protocol, x, y, fraction_bits=fraction_bits, value_bits=value_bits)
    own, scale = protocol.own(x), 2 * x.fraction_bits
    pair = factor_pair(protocol, own, protocol.policy.product_bits(scale))
    share = protocol.run(Square(pair, summed=False))
    target = own.fraction_bits if fraction_bits is None else fraction_bits
    return protocol.opened(Open(share, pair.bits), pair.bits, scale, target)


def _lifted_product(
    protocol: Dealt, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None
) -> Secret | None:
    """x y where one factor is broadcast to the other, and one of them has a pair in too small a ring.

    The larger one is lifted then, which takes no round and nothing online, where it would be opened anew. So is the
    smaller one, if it has such a pair alone, where that saves a round and is worth it. None where factors are not such.
    """
    scale, target = x.fraction_bits + y.fraction_bits, max(x.fraction_bits, y.fraction_bits)
    needed = protocol.policy.product_bits(scale, value_bits)
    small, large = sorted((protocol.own(x), protocol.own(y)), key=lambda s: math.prod(s.shape))
    broadcast = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
    if not broadcast or ring.broadcast(small.shape, large.shape) != large.shape or not _has_whole_pair(protocol, large):
        return None
    assert large.pair is not None
    carried, held = large.carries(needed), large.share is not None and large.share_bits >= needed
    # From the full ring, the truncated product carries a pair that is wide enough for another product.
    bits = large.pair.bits if carried else large.share_bits if held else ring.WORD_BITS
    if not _is_lifted(protocol, small, large.pair, needed, bits):
        if carried:
            return None
        pair_in(protocol, small, bits)
    shares = [share_in(protocol, each, bits) for each in (large, small)]
    assert small.pair is not None
    gate = LiftedProduct(large.pair, shares[0], small.pair, shares[1], bits)
    return protocol.opened(gate, bits, scale, target if fraction_bits is None else fraction_bits)


def _has_whole_pair(protocol: Dealt, x: DealtSecret) -> bool:
    """Whether x's pair tells all of x, and may be lifted: some gates open low bits of a share, which others know."""
    whole = x.lifted or x.share is None
    return x.pair is not None and (whole or x.pair.bits >= protocol.policy.ring_bits(x.fraction_bits))


def _is_lifted(protocol: Dealt, small: DealtSecret, large: Pair, needed: int, bits: int) -> bool:
    """Whether the smaller factor has a pair in too small a ring alone, and a round is worth what lifting it takes."""
    if small.share is not None or small.pair is None or small.carries(needed):
        return False
    gate = LiftedProduct(large, large.opened, small.pair, small.pair.opened, bits)
    opened = replace(gate, y=replace(small.pair, bits=bits))
    return protocol.profile.worth(gate.cost().dealer_bytes - opened.cost().dealer_bytes)


def square_sum(protocol: Dealt, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    """One word is dealt for each sum; what is rounded is opened, too, and a pair in too small a ring is lifted."""
    own, scale = protocol.own(x), 2 * x.fraction_bits
    whole = fraction_bits in (None, scale)
    share = share_in(protocol, own, ring.WORD_BITS)
    if whole and _has_whole_pair(protocol, own) and own.pair is not None and own.pair.bits + 1 < ring.WORD_BITS:
        return protocol.of_share(protocol.run(LiftedSquare(own.pair, share, ring.WORD_BITS)), ring.WORD_BITS, scale)
    pair_in(protocol, own, ring.WORD_BITS)
    squared = own if whole else protocol.own(products.in_groups(protocol, own))
    sums = protocol.run(Square(protocol.pair(squared, ring.WORD_BITS), summed=True))
    if fraction_bits is None or whole:
        return protocol.of_share(sums, ring.WORD_BITS, scale)
    shift = truncation_shift(scale, fraction_bits)
    groups = protocol.run(Open(sums, ring.WORD_BITS)).with_low_bits_in_the_first(
        shift, -2, at_dealer=protocol.at_dealer
    )
    return products.sum_of_groups(protocol, rescaled(protocol, groups, scale, fraction_bits))


def concatenate(protocol: Dealt, x: Secret, others: Sequence[Secret], dim: int) -> Secret:
    """Joined as shares."""
    parts = [x, *others]
    scale = max(part.fraction_bits for part in parts)
    own = [protocol.scaled_up(part, scale) for part in parts]
    shares = [share_in(protocol, part, share_ring(protocol, part)) for part in own]
    bits = min(part.share_bits for part in own)
    return DealtSecret(protocol, scale, share=ring.concatenate(shares, dim), share_bits=bits)


def as_factor(protocol: Dealt, x: Secret, *, wide: bool = False) -> Secret:
    """x keeps the pair that is made for it; a wide one is in the full ring, or in that of x's share, or is lifted."""
    own = protocol.own(x)
    needed = protocol.policy.ring_bits(own.fraction_bits + protocol.policy.fraction_bits)
    if not wide:
        pair_in(protocol, own, needed)
    elif own.pair is None:
        factor_pair(protocol, own, needed)
    elif not own.carries(needed):
        share_in(protocol, own, ring.WORD_BITS)  # a product with what is broadcast to it opens it no more
    return own


def append(protocol: Dealt, rows: Secret, kept: Secret | None, dim: int) -> Secret:
    """Pairs and shares of what is kept, and of the rows."""
    own = protocol.own(rows)
    pair = factor_pair(protocol, own, protocol.policy.product_bits(own.fraction_bits + protocol.policy.fraction_bits))
    # The share of a pair is what a product multiplies with; made here, it need not be made again for old rows.
    added = DealtSecret(protocol, own.fraction_bits, share=unmasked(protocol, pair), share_bits=pair.bits, pair=pair)
    if kept is None:
        return added
    old = protocol.own(kept)
    assert old.share is not None and added.share is not None and old.pair is not None
    return DealtSecret(
        protocol,
        own.fraction_bits,
        share=ring.concatenate([old.share, added.share], dim),
        share_bits=min(old.share_bits, added.share_bits),
        pair=old.pair.extended(pair, dim),
    )


DEALT_ROWS = (
    *ROWS,
    row(secret.add, add),
    row(secret.multiply, multiply),
    row(primitives.truncate, truncate),
    row(primitives.square_sum, square_sum),
    row(primitives.concatenate, concatenate),
    row(primitives.as_factor, as_factor),
    row(primitives.append, append),
)
"""All rows but that of the test of one-hot vectors, which depends on who computes."""
