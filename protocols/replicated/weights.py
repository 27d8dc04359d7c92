"""What a party keeps of a model's private tensors between sessions."""

from __future__ import annotations

from dataclasses import dataclass

from secure.protocols.masked.weights import Matrix
from secure.protocols.replicated.shares import Shares


@dataclass(frozen=True, eq=False)
class SharedWeight:
    """A tensor for elementwise use."""

    shares: Shares
    fraction_bits: int


@dataclass(frozen=True, eq=False)
class HelpedMatrix(Matrix):
    """A right factor of products, with the party that helps in all of them: each role needs other sums of parts."""

    helper: int
