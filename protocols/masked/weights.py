"""What a role keeps of a model's tensors between sessions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core.factor import Factor
from secure.protocols.masked.pair import Pair


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor for elementwise use: its share and, where products take it, the pair of its one opening."""

    share: Tensor
    pair: Pair | None
    fraction_bits: int
    bits: int


@dataclass(frozen=True, eq=False)
class Matrix:
    """A right factor y of matrix products, opened under a mask s once: d = y + s.

    factor: at a party of its share of y and of -d, one below the other; at the dealer of s.
    """

    factor: Factor
    shape: tuple[int, ...]
    fraction_bits: int
    bits: int

    def left(self, x: Pair) -> list[Tensor]:
        """What a party multiplies the factor with from the left."""
        assert x.mask is not None
        return [x.opened, x.mask]

    def left_mask(self, x: Pair) -> Tensor:
        """The mask of the left factor, at the dealer."""
        assert x.mask is not None
        return x.mask


@dataclass(frozen=True, eq=False)
class ServerMatrix(Matrix):
    """A right factor y that P1 holds in the clear: P0 was sent d = y + s once, s drawn by P1.

    factor: at P1 of y, which has short digits; at P0 of -d; at the dealer of s.
    Products are between P0 and P1 alone: P0 multiplies its share of a mask, P1 what it knows of x but for that share.
    """

    at_owner: bool
    """Whether this is P1."""

    def left(self, x: Pair) -> list[Tensor]:
        assert x.mask is not None
        return [x.opened - x.mask] if self.at_owner else [x.mask]

    def left_mask(self, x: Pair) -> Tensor:
        assert x.first is not None
        return x.first


@dataclass(frozen=True, eq=False)
class PublicWeight:
    """A tensor that both parties hold in the clear. At the dealer it is on the meta device."""

    values: Tensor
    fraction_bits: int


@dataclass(frozen=True, eq=False)
class PublicMatrix:
    """A right factor of matrix products that both parties hold in the clear. The dealer has only its shape."""

    factor: Factor | None
    shape: tuple[int, ...]
    fraction_bits: int
