"""What a user chose: the key, the factors, and how far each factor may go."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.equivariant.key import Key

FACTORS = ("vocabulary", "residual", "qk", "vo", "heads", "ffn", "patches", "channels")
"""Every factor, in the order in which manifests list them."""


@dataclass(frozen=True)
class Choice:
    """permutations: each factor keeps to its permutations, so every value keeps its bits.
    keep_tie: the residual factor keeps to signed permutations where the embedding is tied to the head."""

    key: Key
    factors: tuple[str, ...]
    permutations: bool = False
    keep_tie: bool = False

    def has(self, factor: str) -> bool:
        """Whether this factor is in use."""
        return factor in self.factors


def choose_factors(requested: Sequence[str] | None, applicable: Iterable[str], family: str) -> tuple[str, ...]:
    """The requested factors in canonical order, all that apply by default. Raises ConfigurationError by name."""
    possible = set(applicable)
    if requested is None:
        return tuple(factor for factor in FACTORS if factor in possible)
    for factor in requested:
        if factor not in FACTORS:
            nearest = difflib.get_close_matches(factor, FACTORS, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known factors: {', '.join(FACTORS)}"
            raise ConfigurationError(f"unknown factor {factor!r}; {hint}")
        if factor not in possible:
            raise ConfigurationError(
                f"factor {factor!r} does not apply to the {family} family; "
                f"these do: {', '.join(name for name in FACTORS if name in possible)}"
            )
    if not requested:
        raise ConfigurationError("no factor is asked for: the encrypted checkpoint would be the base")
    return tuple(factor for factor in FACTORS if factor in requested)
