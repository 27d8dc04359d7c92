"""Real numbers as ring elements: x is round(x * 2^fraction_bits), two's complement."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from protocols.core import tables
from protocols.core.errors import BoundError, ConfigurationError


@dataclass(frozen=True)
class FixedPointPolicy:
    """How a model's numbers are represented. Every role must hold the same policy: the handshake compares `digest`.

    fraction_bits: resolution 2^-fraction_bits of activations and weights.
    value_bits: every activation and weight that is opened, compared or truncated satisfies |x| < 2^value_bits.
    truncation: "probabilistic" may be one unit too large in the last place (one round); "exact" is the floor (four
        rounds). See SECURITY.md for what the difference means.
    """

    fraction_bits: int = 16
    value_bits: int = 13
    truncation: str = "probabilistic"

    def __post_init__(self) -> None:
        if self.truncation not in ("probabilistic", "exact"):
            raise ConfigurationError(f"truncation is 'probabilistic' or 'exact', not {self.truncation!r}")
        # A product has 2 f + v bits and a sign, the truncation needs two spare bits of a 48-bit ring.
        if not (self.fraction_bits >= 8 and 2 * self.fraction_bits + self.value_bits + 3 <= 48):
            raise ConfigurationError(
                f"fraction_bits {self.fraction_bits} and value_bits {self.value_bits} do not fit: "
                "8 <= fraction_bits and 2 * fraction_bits + value_bits <= 45"
            )

    def ring_bits(self, fraction_bits: int) -> int:
        """Smallest ring that holds every value of the policy at this scale, with a sign and a spare bit."""
        return fraction_bits + self.value_bits + 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FixedPointPolicy:
        """Inverse of `to_dict`. Raises ConfigurationError for unknown fields."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigurationError(f"unknown fixed-point field {sorted(unknown)[0]!r}")
        return cls(**values)

    def digest(self) -> str:
        """SHA-256 of the policy and of the public tables: parties whose tables differ would compute nonsense."""
        text = json.dumps(self.to_dict(), sort_keys=True) + tables.digest()
        return hashlib.sha256(text.encode()).hexdigest()


def encode(x: Tensor, fraction_bits: int, *, bound_bits: int, what: str) -> Tensor:
    """Nearest ring element. Shapes: float any -> int64 same.

    Raises BoundError, naming `what`, for NaN, infinities and |x| >= 2^bound_bits.
    """
    x = x.to(torch.float64)
    if not bool(torch.isfinite(x).all()):
        raise BoundError(f"{what} has NaN or infinite entries; secure computation needs finite numbers")
    if x.numel() and float(x.abs().max()) >= 2.0**bound_bits:
        raise BoundError(f"{what} has entries of magnitude 2^{bound_bits} or more, outside the declared range")
    return torch.round(x * 2.0**fraction_bits).to(torch.int64)


def decode(x: Tensor, fraction_bits: int) -> Tensor:
    """The real number. Shapes: int64 any -> float64 same."""
    return x.to(torch.float64) / 2.0**fraction_bits
