"""What a role keeps of a model's tensors between sessions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from protocols.beaver.pair import Pair
from protocols.core.factor import Factor


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
