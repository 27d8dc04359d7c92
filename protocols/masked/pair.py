"""A masked pair: the public c and the mask r of one opening, c = x + r in Z_2^k.

Whatever function of x a gate wants, the dealer can share suitable functions of r and the parties finish locally with
c. Linear maps act on both halves, and a public right shift of both halves is a masked pair of the shifted value, so a
truncation's opening is at the same time the next gate's masked input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels import selection


@dataclass(frozen=True, eq=False)
class Pair:
    """x = opened - mask in Z_2^bits.

    opened: c, known to both parties; a tensor on the meta device, which has a shape and no values, at the dealer and
    before there is an input.
    mask: at a party its own additive share of r, or None while it holds none; at the dealer r itself.
    dealt: whether the parties hold shares of r (the dealer follows along).
    first: at the dealer P0's share of r, once it is dealt: products with what P1 holds in the clear need it.
    """

    opened: Tensor
    mask: Tensor | None
    bits: int
    dealt: bool
    first: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Pair:
        """Apply a linear map with integer coefficients to both halves."""
        mask = None if self.mask is None else function(self.mask)
        first = None if self.first is None else function(self.first)
        return Pair(ring.mapped(function, self.opened), mask, self.bits, self.dealt, first)

    def plus(self, other: Pair) -> Pair:
        """The pair of the sum, in the smaller of the two rings."""
        dealt = self.dealt and other.dealt
        mask = None if self.mask is None or other.mask is None else self.mask + other.mask
        first = None if self.first is None or other.first is None else self.first + other.first
        return Pair(ring.add(self.opened, other.opened), mask, min(self.bits, other.bits), dealt, first)

    def extended(self, other: Pair, dim: int) -> Pair:
        """Both pairs, joined along an axis, in the smaller of the two rings. `first` is dropped: for a factor of
        products of secrets."""
        mask = None if self.mask is None or other.mask is None else torch.cat([self.mask, other.mask], dim)
        opened = ring.concatenate([self.opened, other.opened], dim)
        return Pair(opened, mask, min(self.bits, other.bits), self.dealt and other.dealt)

    def shift_right(self, shift: int, *, at_dealer: bool) -> Pair:
        """The pair of x / 2^shift in Z_2^(bits - shift), for |x| < 2^(bits - 2): floor, or one unit more.

        With x' = x + 2^(bits-2) in [0, 2^(bits-1)) and c' = x' + r: (c' >> s) - (r >> s) equals x' >> s up to one
        unit and up to a multiple of 2^(bits-s), which vanishes in the smaller ring. Nothing is sent. The parties'
        shares of r are no shares of r >> s, so the new pair's mask is not dealt.
        """
        if shift == 0:
            return self
        if at_dealer:
            assert self.mask is not None
            return Pair(self.opened, ring.shift_right(self.mask, shift, self.bits), self.bits - shift, dealt=False)
        # Before there is an input, a party has a shape, too.
        opened = self.opened if self.opened.is_meta else selection.shift_opened(self.opened, shift, self.bits)
        return Pair(opened, None, self.bits - shift, dealt=False)

    def with_low_bits_in_the_first(self, bits: int, dim: int, *, at_dealer: bool) -> Pair:
        """Pairs of other numbers with the same sum along dim: all but the first one are multiples of 2^bits.

        The low bits of each c and of each r are moved to the first one. So each number changes by less than 2^bits,
        the first one by that for each other. A shift by `bits` is then exact for all but the first, and the sum of
        what it gives is off by one unit in place of one for each. Nothing is sent. The parties' shares of r are no
        shares of the new masks, so that these are not dealt.
        """

        def moved(numbers: Tensor) -> Tensor:
            return ring.low(ring.low_bits_to_first(numbers, bits, dim), self.bits)

        # Before there is an input, a party has a shape, and at the dealer nothing is opened.
        opened = self.opened if self.opened.is_meta else moved(self.opened)
        mask = moved(self.mask) if at_dealer and self.mask is not None else None
        return Pair(opened, mask, self.bits, dealt=False)

    def low_part(self, bits: int, *, at_dealer: bool) -> Pair:
        """The pair of x mod 2^bits."""
        if not at_dealer:
            return Pair(ring.low(self.opened, bits), self.mask, bits, self.dealt)
        mask = None if self.mask is None else ring.low(self.mask, bits)
        return Pair(self.opened, mask, bits, self.dealt, self.first)


def check_masks(values: Sequence[tuple[Tensor, Tensor, int]]) -> None:
    """Raises ProtocolError where a mask and its value differ in shape: broadcast, the mask would serve several values.

    A mask that is given twice is not seen here; the joint-view test finds gates that do so.
    """
    for value, mask, _ in values:
        if value.shape != mask.shape:
            raise ProtocolError(f"values of shape {tuple(value.shape)} and masks of {tuple(mask.shape)}")
