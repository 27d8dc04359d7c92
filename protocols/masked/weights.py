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
    A product x y of x = c - r is c [y] - [r] d at a party; the second half can be there before c is.
    """

    factor: Factor
    shape: tuple[int, ...]
    fraction_bits: int
    bits: int

    def product(self, x: Pair, bits: int, ahead: Tensor | None) -> Tensor:
        """A party's part of x y mod 2^bits. ahead: what `product_ahead` gave of it, which is used up."""
        if ahead is None:
            return self.factor.product(self.left(x), bits)
        online = self.factor.alone(0)
        assert online is not None
        return ahead.add_(online.product([x.opened], bits))

    def product_ahead(self, x: Pair, bits: int) -> Tensor | None:
        """What it can have of that before x is opened. None where its factor is not kept in two halves."""
        known = self.factor.alone(1)
        if known is None:
            return None
        assert x.mask is not None
        return known.product([x.mask], bits)

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
    So P0's part can be there before x is opened, and P1's not.
    """

    at_owner: bool
    """Whether this is P1."""

    def product(self, x: Pair, bits: int, ahead: Tensor | None) -> Tensor:
        return self.factor.product(self.left(x), bits) if ahead is None else ahead

    def product_ahead(self, x: Pair, bits: int) -> Tensor | None:
        return None if self.at_owner else self.factor.product(self.left(x), bits)

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
