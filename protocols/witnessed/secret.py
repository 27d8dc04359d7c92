"""What an evaluator holds of a secret, and of a model's tensor: two of its three parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.masked.dealt.secret import DealtSecret


class WitnessedSecret(Secret):
    """Parts i and i + 1 of x = x_0 + x_1 + x_2 at evaluator i, each in the forms that gates have made of it."""

    def __init__(self, protocol: Protocol, parts: tuple[DealtSecret, DealtSecret]) -> None:
        super().__init__(protocol, parts[0].fraction_bits)
        self.parts = parts

    def __repr__(self) -> str:
        return f"WitnessedSecret(shape={self.shape}, fraction_bits={self.fraction_bits})"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> WitnessedSecret:
        own, following = (part.map(function, fraction_bits) for part in self.parts)
        return WitnessedSecret(self.protocol, (own, following))


@dataclass(frozen=True, eq=False)
class PreparedParts:
    """A model's tensor as both parts keep it between sessions. What all may see is the same object in both."""

    parts: tuple[Any, Any]

    @property
    def fraction_bits(self) -> int:
        """Its scale."""
        bits: int = self.parts[0].fraction_bits
        return bits
