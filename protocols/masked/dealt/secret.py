"""The secret tensor: an additive share, a masked pair, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import MaskedSecret


class DealtSecret(MaskedSecret):
    """x = share_0 + share_1 in Z_2^share_bits, or the pair of an opening, or both.

    A gate asks the protocol for the form that it needs; the protocol makes it at the lowest cost and keeps it here.
    At the dealer `share` is on the meta device. lifted: the share was made of the pair, which so tells all of x.
    """

    def __init__(
        self,
        protocol: Protocol,
        fraction_bits: int,
        *,
        share: Tensor | None = None,
        share_bits: int = 64,
        pair: Pair | None = None,
    ) -> None:
        super().__init__(protocol, fraction_bits)
        if share is None and pair is None:
            raise ProtocolError("a secret needs a share or a masked pair")
        self.share = share
        self.share_bits = share_bits
        self.pair = pair
        self.lifted = False

    def __repr__(self) -> str:
        return f"DealtSecret(shape={self.shape}, fraction_bits={self.fraction_bits})"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.share is not None:
            return tuple(self.share.shape)
        assert self.pair is not None
        return tuple(self.pair.opened.shape)

    @property
    def bits(self) -> int:
        rings = [] if self.share is None else [self.share_bits]
        return min(rings + ([] if self.pair is None else [self.pair.bits]))

    def carries(self, bits: int) -> bool:
        """Whether it has a pair in a ring of at least `bits` bits."""
        return self.pair is not None and self.pair.bits >= bits

    def opening_bits(self, needed: int) -> int:
        """The ring that it is opened in where at least `needed` bits are wanted."""
        return self.share_bits if self.share is not None and needed <= self.share_bits else ring.WORD_BITS

    def shifted_left(self, shift: int) -> DealtSecret:
        """x 2^shift with as many more fraction bits: what is equal mod 2^k becomes equal mod 2^(k + shift)."""
        larger = self.map(lambda t: t << shift, self.fraction_bits + shift)
        larger.share_bits = min(self.share_bits + shift, ring.WORD_BITS)
        if larger.pair is not None:
            larger.pair = replace(larger.pair, bits=min(larger.pair.bits + shift, ring.WORD_BITS))
        return larger

    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> DealtSecret:
        return DealtSecret(
            self.protocol,
            self.fraction_bits if fraction_bits is None else fraction_bits,
            share=None if self.share is None else ring.mapped(function, self.share),
            share_bits=self.share_bits,
            pair=None if self.pair is None else self.pair.map(function),
        )
