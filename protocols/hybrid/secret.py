"""The family's secret tensor: an additive share, of which P0's part depends on no input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.secret import Protocol, Secret


class HybridSecret(Secret):
    """x = share_0 + share_1 in Z_2^bits. Where a party has, or needs, no number of its share, it is a shape."""

    def __init__(self, protocol: Protocol, share: Tensor, bits: int, fraction_bits: int) -> None:
        super().__init__(protocol, fraction_bits)
        self.share = share
        self.bits = bits

    def __repr__(self) -> str:
        return f"HybridSecret(shape={self.shape}, fraction_bits={self.fraction_bits})"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.share.shape)

    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> HybridSecret:
        scale = self.fraction_bits if fraction_bits is None else fraction_bits
        return HybridSecret(self.protocol, function(self.share), self.bits, scale)

    def shifted_left(self, shift: int) -> HybridSecret:
        """x 2^shift with as many more fraction bits: what is equal mod 2^k becomes equal mod 2^(k + shift)."""
        bits = min(self.bits + shift, ring.WORD_BITS)
        return HybridSecret(self.protocol, self.share << shift, bits, self.fraction_bits + shift)

    def truncated(self, shift: int, *, at_owner: bool) -> HybridSecret:
        """x / 2^shift in Z_2^(bits - shift), for |x| < 2^(bits - 2): floor, or one unit more. Nothing is sent.

        Each party drops the low bits of its own share. The floors of two numbers add up to that of their sum or to one
        less, up to a multiple of 2^(bits - shift), which vanishes in the smaller ring; so P1 adds one.
        """
        if shift == 0:
            return self
        share = ring.shift_right(self.share, shift, self.bits)
        return HybridSecret(
            self.protocol, share + 1 if at_owner else share, self.bits - shift, self.fraction_bits - shift
        )
