"""What a party keeps of a model's tensors between sessions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core.factor import Factor
from secure.protocols.masked.weights import Matrix
from secure.protocols.replicated.shares import Shares


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor for elementwise use."""

    shares: Shares
    fraction_bits: int


@dataclass(frozen=True, eq=False)
class HelpedMatrix:
    """A right factor of products, with the party that helps in all of them: each role needs other sums of parts."""

    matrix: Matrix
    helper: int

    @property
    def fraction_bits(self) -> int:
        """Of the matrix."""
        return self.matrix.fraction_bits


@dataclass(frozen=True, eq=False)
class PublicWeight:
    """A tensor that all parties hold in the clear."""

    values: Tensor
    fraction_bits: int


@dataclass(frozen=True, eq=False)
class PublicMatrix:
    """A right factor of products that all parties hold in the clear."""

    factor: Factor
    shape: tuple[int, ...]
    fraction_bits: int
