"""This family's secret tensor."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from secure.protocols.core.secret import Protocol
from secure.protocols.masked.protocol import MaskedSecret
from secure.protocols.replicated.shares import Shares


class ReplicatedSecret(MaskedSecret):
    """x = x_0 + x_1 + x_2 in Z_2^bits, |x| < 2^(bits-2); this party's two parts.

    The protocol may put shares of the same x in a larger ring in their place, once somebody needs them.
    """

    def __init__(self, protocol: Protocol, fraction_bits: int, shares: Shares) -> None:
        super().__init__(protocol, fraction_bits)
        self.shares = shares

    def __repr__(self) -> str:
        return f"ReplicatedSecret(shape={self.shape}, fraction_bits={self.fraction_bits})"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.shares.own.shape)

    @property
    def bits(self) -> int:
        return self.shares.bits

    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> ReplicatedSecret:
        scale = self.fraction_bits if fraction_bits is None else fraction_bits
        return ReplicatedSecret(self.protocol, scale, self.shares.map(function))
