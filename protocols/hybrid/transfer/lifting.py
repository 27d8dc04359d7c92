"""Shares in a small ring as shares in a larger one, while both parties have numbers of theirs.

With x = u + v in Z_2^k, |x| < 2^(k-2), u' = u mod 2^k and v' = v + 2^(k-2) mod 2^k, their sum is x + 2^(k-2), or 2^k
more where one of the top bits a of u' and b of v' is set, as in `secure.protocols.hybrid.gates.lifted`: so
    x = u' + v' - 2^(k-2) - 2^k (b + a (1 - b)),
where P0 chooses with a and P1 owns 1 - b, in Z_2^(m-k). Cost: one exchange, one transfer for each number.
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core import ring
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing, crossed_words


def lifted(crossing: Crossing, share: Array, width: int, bits: int) -> Array:
    """This party's share in Z_2^bits from one in Z_2^width, |x| < 2^(width-2). Shapes: uint64 [n] -> [n]."""
    if bits <= width:
        return share
    low, nothing = np.uint64((1 << width) - 1), np.zeros(0, np.uint8)
    offset = np.uint64(1 << (width - 2) if crossing.index else 0)
    own = (share + offset) & low
    top = own >> np.uint64(width - 1)
    if crossing.index == 0:
        wrapped, _ = crossing.words(top.astype(np.uint8), nothing.astype(np.uint64), bits - width)
    else:
        _, wrapped = crossing.words(nothing, np.uint64(1) - top, bits - width)
        wrapped = wrapped + top
    return own - offset - (wrapped << np.uint64(width))


def crossed_lift(count: int, width: int, bits: int) -> Crossed:
    """What `lifted` takes."""
    return crossed_words((count, 0), bits - width) if bits > width else Crossed()


def dropped(crossing: Crossing, share: Array, shift: int, width: int) -> Array:
    """A share of x / 2^shift in Z_2^(width - shift), for |x| < 2^(width-2): floor, or one unit more. Nothing is sent.

    As in `secure.protocols.hybrid.secret.HybridSecret.truncated`. Shapes: uint64 any -> same.
    """
    low = share if width == ring.WORD_BITS else share & np.uint64((1 << width) - 1)
    return (low >> np.uint64(shift)) + np.uint64(crossing.index)
