"""Real numbers as ring elements: x is round(x * 2^fraction_bits), two's complement."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.errors import BoundError, ConfigurationError, ProtocolError

_FACTOR_BITS = 20  # significant bits of a public factor that is no integer, after the first
_MOST_FACTOR_BITS = 60  # what a truncation in the ring can drop

_OUR_FRACTION_BITS = 16
"""Fraction bits of what our exponential takes, whose window and powers are made for them."""
_PUMA_VALUE_BITS = 13
"""Half of -8, the lowest argument of its SiLU's polynomials, to the sixth power is 2^12."""


@dataclass(frozen=True)
class FixedPointPolicy:
    """How a model's numbers are represented. Every role must hold the same policy: the handshake compares `digest`.

    fraction_bits: resolution 2^-fraction_bits of activations and weights.
    value_bits: every activation and weight that is opened, compared or truncated satisfies |x| < 2^value_bits.
    truncation: "probabilistic" may be one unit too large in the last place (one round); "exact" is the floor (four
        rounds). See SECURITY.md for what the difference means.
    functions: whose formulas GeLU, SiLU, softmax and layer norm follow: "ours", for 16 fraction bits, or "puma" for
        those of that paper, which err more. See `secure.protocols.functions.policy_functions`.

    Raises ConfigurationError for what does not fit together.
    """

    fraction_bits: int = 16
    value_bits: int = 13
    truncation: str = "probabilistic"
    functions: str = "ours"

    def __post_init__(self) -> None:
        if self.functions not in ("ours", "puma"):
            raise ConfigurationError(f"functions is 'ours' or 'puma', not {self.functions!r}")
        if self.functions == "puma" and self.value_bits < _PUMA_VALUE_BITS:
            raise ConfigurationError(
                f"functions 'puma' take value_bits {_PUMA_VALUE_BITS} or more, not {self.value_bits}: "
                "its polynomials are of degree six"
            )
        if self.truncation not in ("probabilistic", "exact"):
            raise ConfigurationError(f"truncation is 'probabilistic' or 'exact', not {self.truncation!r}")
        # A product has 2 f + v bits and a sign, the truncation needs two spare bits of a 48-bit ring.
        if not (self.fraction_bits >= 8 and 2 * self.fraction_bits + self.value_bits + 3 <= 48):
            raise ConfigurationError(
                f"fraction_bits {self.fraction_bits} and value_bits {self.value_bits} do not fit: "
                "8 <= fraction_bits and 2 * fraction_bits + value_bits <= 45"
            )
        if self.functions == "ours" and self.fraction_bits != _OUR_FRACTION_BITS:
            raise ConfigurationError(
                f"functions 'ours' are made for {_OUR_FRACTION_BITS} fraction bits, not {self.fraction_bits}; "
                "functions='puma' takes others"
            )

    def ring_bits(self, fraction_bits: int) -> int:
        """Smallest ring that holds every value of the policy at this scale, with a sign and a spare bit."""
        return fraction_bits + self.value_bits + 2

    def product_bits(self, fraction_bits: int, value_bits: int | None = None) -> int:
        """The ring that a product at this scale takes; value_bits: where it is below 2^value_bits, not the policy's.

        Raises ProtocolError when there is none.
        """
        needed = fraction_bits + (self.value_bits if value_bits is None else value_bits) + 2
        if needed > ring.WORD_BITS:
            raise ProtocolError(
                f"a product with {fraction_bits} fraction bits takes {needed} bits, more than the ring has"
            )
        return needed

    def sum_bits(self, fraction_bits: int, count: int) -> int:
        """The ring that a sum of `count` values at this scale takes. Raises ProtocolError when there is none."""
        needed = self.ring_bits(fraction_bits) + math.ceil(math.log2(max(count, 2)))
        if needed > ring.WORD_BITS:
            raise ProtocolError(
                f"a sum of {count} numbers with {fraction_bits} fraction bits takes {needed} bits, more than the ring "
                "has; truncate them first"
            )
        return needed

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
        text = json.dumps(self.to_dict(), sort_keys=True) + integer_functions.digest()
        return hashlib.sha256(text.encode()).hexdigest()


def public_factor(factor: float, fraction_bits: int, policy: FixedPointPolicy) -> tuple[int, int]:
    """A factor that is no integer, as n / 2^extra with n of 21 bits, for numbers with `fraction_bits`.

    Raises ProtocolError when the product would not fit in the ring, or its truncation would leave nothing.
    """
    extra = _FACTOR_BITS - math.floor(math.log2(abs(factor)))
    if extra > _MOST_FACTOR_BITS:
        raise ProtocolError(f"a factor of {factor:g} leaves nothing of a number with {fraction_bits} fraction bits")
    if policy.ring_bits(fraction_bits) + _FACTOR_BITS + 1 > ring.WORD_BITS:
        raise ProtocolError(
            f"a number with {fraction_bits} fraction bits has no room for a factor of {_FACTOR_BITS + 1} bits; "
            "truncate it first"
        )
    return round(factor * 2.0**extra), extra


def encode(x: Tensor, fraction_bits: int, *, bound_bits: int, what: str) -> Tensor:
    """Nearest ring element. Shapes: float any -> int64 same.

    Raises BoundError, naming `what`, for NaN, infinities and |x| >= 2^bound_bits.
    """
    x = x.to(torch.float64)
    # A NaN goes through aminmax, which is many times faster than asking each value.
    extremes = torch.stack(torch.aminmax(x)) if x.numel() else torch.zeros(2)
    if not bool(torch.isfinite(extremes).all()):
        raise BoundError(f"{what} has NaN or infinite entries; secure computation needs finite numbers")
    if float(extremes.abs().max()) >= 2.0**bound_bits:
        raise BoundError(f"{what} has entries of magnitude 2^{bound_bits} or more, outside the declared range")
    return torch.round(x * 2.0**fraction_bits).to(torch.int64)


def decode(x: Tensor, fraction_bits: int) -> Tensor:
    """The real number. Shapes: int64 any -> float64 same."""
    return x.to(torch.float64) / 2.0**fraction_bits
