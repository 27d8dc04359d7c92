"""What this family computes in a way of its own, and its table of operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secure.protocols.beaver.forms import (
    Beaver,
    factor_pair,
    opened_in,
    pair_in,
    rescaled,
    share_in,
    share_ring,
    unmasked,
)
from secure.protocols.beaver.one_hot import checked_one_hot
from secure.protocols.beaver.secret import BeaverSecret
from secure.protocols.core import primitives, ring, secret
from secure.protocols.core.secret import Secret, row, table
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.gates.product import LiftedProduct, Square
from secure.protocols.masked.programs import products
from secure.protocols.masked.table import ROWS

_BROADCAST = 4  # times: a secret that is so much smaller than another one is cheaper to open than that one


def add(beaver: Beaver, x: Secret, y: Secret) -> Secret:
    """The sum of two pairs where both are carried and wide enough, else of two shares."""
    scale = max(x.fraction_bits, y.fraction_bits)
    first, second = beaver.scaled_up(x, scale), beaver.scaled_up(y, scale)
    wide = any(s.share is not None and s.share_bits == ring.WORD_BITS for s in (first, second))
    if not wide:
        _open_smaller(beaver, first, second, scale)
        if first.pair is not None and second.pair is not None:
            total = first.pair.plus(second.pair)
            if total.bits >= beaver.policy.ring_bits(scale):
                return BeaverSecret(beaver, scale, pair=total)
    bits = ring.WORD_BITS if wide else min(share_ring(beaver, first), share_ring(beaver, second))
    share = ring.add(share_in(beaver, first, bits), share_in(beaver, second, bits))
    return BeaverSecret(beaver, scale, share=share, share_bits=min(first.share_bits, second.share_bits))


def _open_smaller(beaver: Beaver, x: BeaverSecret, y: BeaverSecret, fraction_bits: int) -> None:
    """Open what is broadcast to a much larger secret, so that the sum keeps the larger one's pair."""
    small, large = sorted((x, y), key=lambda s: math.prod(s.shape))
    worthwhile = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
    if worthwhile and small.pair is None and large.carries(beaver.policy.ring_bits(fraction_bits)):
        assert large.pair is not None
        opened_in(beaver, small, min(large.pair.bits, small.share_bits))


def truncate(beaver: Beaver, x: Secret, fraction_bits: int) -> Secret:
    """From the pair that x carries, or an opening in the ring of its share."""
    own = beaver.own(x)
    pair = own.pair or beaver.run(Open(share_in(beaver, own, own.share_bits), own.share_bits))
    return rescaled(beaver, pair, own.fraction_bits, fraction_bits)


def multiply(
    beaver: Beaver, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """A square takes one pair, and not two. What is broadcast may be lifted where it would be opened for it alone."""
    if x is not y:
        lifted = _lifted_product(beaver, x, y, fraction_bits, value_bits)
        return lifted or products.multiply(beaver, x, y, fraction_bits=fraction_bits, value_bits=value_bits)
    own, scale = beaver.own(x), 2 * x.fraction_bits
    pair = factor_pair(beaver, own, beaver.policy.product_bits(scale))
    share = beaver.run(Square(pair, summed=False))
    target = own.fraction_bits if fraction_bits is None else fraction_bits
    return beaver.opened(Open(share, pair.bits), pair.bits, scale, target)


def _lifted_product(
    beaver: Beaver, x: Secret, y: Secret, fraction_bits: int | None, value_bits: int | None
) -> Secret | None:
    """x y where one factor has its pair already and the other, broadcast to it, has one in too small a ring alone.

    That saves the round in which the small one is opened. None where the factors are not such.
    """
    scale, target = x.fraction_bits + y.fraction_bits, max(x.fraction_bits, y.fraction_bits)
    needed = beaver.policy.product_bits(scale, value_bits)
    small, large = sorted((beaver.own(x), beaver.own(y)), key=lambda s: math.prod(s.shape))
    broadcast = _BROADCAST * math.prod(small.shape) <= math.prod(large.shape)
    if not broadcast or ring.broadcast(small.shape, large.shape) != large.shape or not large.carries(needed):
        return None
    if small.share is not None or small.pair is None or small.carries(needed):
        return None
    pair = pair_in(beaver, large, needed)
    gate = LiftedProduct(small.pair, pair, share_in(beaver, large, pair.bits))
    if not beaver.profile.worth(gate.cost().dealer_bytes):
        return None
    return beaver.opened(gate, gate.bits, scale, target if fraction_bits is None else fraction_bits)


def square_sum(beaver: Beaver, x: Secret, *, fraction_bits: int | None = None) -> Secret:
    """One word is dealt for each sum; what is rounded is opened, too."""
    own, scale = beaver.own(x), 2 * x.fraction_bits
    pair_in(beaver, own, ring.WORD_BITS)
    whole = fraction_bits in (None, scale)
    squared = own if whole else beaver.own(products.in_groups(beaver, own))
    sums = beaver.of_share(beaver.run(Square(beaver.pair(squared, ring.WORD_BITS), summed=True)), ring.WORD_BITS, scale)
    return sums if fraction_bits is None or whole else products.sum_of_groups(beaver, sums, fraction_bits)


def concatenate(beaver: Beaver, x: Secret, others: Sequence[Secret], dim: int) -> Secret:
    """Joined as shares."""
    parts = [x, *others]
    scale = max(part.fraction_bits for part in parts)
    own = [beaver.scaled_up(part, scale) for part in parts]
    shares = [share_in(beaver, part, share_ring(beaver, part)) for part in own]
    bits = min(part.share_bits for part in own)
    return BeaverSecret(beaver, scale, share=ring.concatenate(shares, dim), share_bits=bits)


def as_factor(beaver: Beaver, x: Secret, *, wide: bool = False) -> Secret:
    """x keeps the pair that is made for it; a wide one is in the full ring, or in that of x's share."""
    own = beaver.own(x)
    needed = beaver.policy.ring_bits(own.fraction_bits + beaver.policy.fraction_bits)
    if wide:
        factor_pair(beaver, own, needed)
    else:
        pair_in(beaver, own, needed)
    return own


def append(beaver: Beaver, rows: Secret, kept: Secret | None, dim: int) -> Secret:
    """Pairs and shares of what is kept, and of the rows."""
    own = beaver.own(rows)
    pair = factor_pair(beaver, own, beaver.policy.product_bits(own.fraction_bits + beaver.policy.fraction_bits))
    # The share of a pair is what a product multiplies with; made here, it need not be made again for old rows.
    added = BeaverSecret(beaver, own.fraction_bits, share=unmasked(beaver, pair), share_bits=pair.bits, pair=pair)
    if kept is None:
        return added
    old = beaver.own(kept)
    assert old.share is not None and added.share is not None and old.pair is not None
    return BeaverSecret(
        beaver,
        own.fraction_bits,
        share=ring.concatenate([old.share, added.share], dim),
        share_bits=min(old.share_bits, added.share_bits),
        pair=old.pair.extended(pair, dim),
    )


PROGRAMS = table(
    *ROWS,
    row(secret.add, add),
    row(secret.multiply, multiply),
    row(primitives.truncate, truncate),
    row(primitives.square_sum, square_sum),
    row(primitives.concatenate, concatenate),
    row(primitives.as_factor, as_factor),
    row(primitives.append, append),
    row(primitives.checked_one_hot, checked_one_hot),
)
