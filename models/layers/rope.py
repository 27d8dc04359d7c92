"""Rotary positions as config.json describes them: every scaling comes down to frequencies and one factor.

The formulas are those of transformers 5, in float32 as it computes them, so that angles agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.config_fields import positive
from secure.protocols.core.errors import CheckpointError

_THETA = 10_000.0  # where config.json has no rope_theta
_BETAS = {"beta_fast": 32, "beta_slow": 1}
_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


@dataclass(frozen=True)
class Rope:
    """frequencies: radians a position, of each pair of a head's entries. scale: of queries and keys, both.

    positions: how many may be used.
    """

    frequencies: tuple[float, ...]
    scale: float
    positions: int


def parse_rope(raw: Mapping[str, Any], width: int) -> Rope:
    """From `rope_parameters` or, as before transformers 5, `rope_scaling` and `rope_theta`. width: of a head.

    Raises CheckpointError naming the field that is missing, unknown or out of range.
    """
    return _Parser(raw, width).rope()


class _Parser:
    """One config.json: `parameters` has all that config.json says of rotary positions, `limit` is all positions."""

    def __init__(self, raw: Mapping[str, Any], width: int) -> None:
        self.field = "rope_scaling" if raw.get("rope_scaling") else "rope_parameters"
        stored = raw.get(self.field) or {}
        if not isinstance(stored, Mapping):
            raise CheckpointError(f"config.json: {self.field} is {stored!r}; it must be an object")
        self.width = width
        self.limit: int = positive(raw, "max_position_embeddings", whole=True)
        self.parameters = {"rope_theta": raw.get("rope_theta", _THETA)} | dict(stored)
        original = raw.get("original_max_position_embeddings")
        if original is not None:
            self.parameters["original_max_position_embeddings"] = original
        self.parameters.setdefault("original_max_position_embeddings", self.limit)

    def rope(self) -> Rope:
        kind = self.parameters.get("rope_type", self.parameters.get("type", "default"))
        if not isinstance(kind, str) or kind not in _KINDS:
            raise CheckpointError(
                f"config.json: {self.field}: rope_type is {kind!r}; supported: {', '.join(sorted(_KINDS))}"
            )
        compute, known = _KINDS[kind]
        unknown = sorted(set(self.parameters) - _COMMON - set(known) - {"original_max_position_embeddings"})
        if unknown:
            raise CheckpointError(f"config.json: {self.field}: {unknown[0]!r} is not known for rope_type {kind!r}")
        if self.parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise CheckpointError(
                f"config.json: partial_rotary_factor is {self.parameters['partial_rotary_factor']!r}; supported is 1.0"
            )
        frequencies, scale, positions = compute(self)
        if not bool(torch.isfinite(frequencies).all()):
            raise CheckpointError(f"config.json: {self.field} gives frequencies that are not finite")
        return Rope(tuple(frequencies.tolist()), scale, positions)

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number; the default where config.json has none or null."""
        value = self.parameters.get(name)
        if value is None and default is not None:
            return default
        try:
            found: float = positive(self.parameters, name, whole=False)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace("config.json:", f"config.json: {self.field}:")) from None
        return found

    @property
    def base(self) -> float:
        return self._above_one("rope_theta")

    @property
    def original(self) -> float:
        """Positions that the model was first trained for."""
        return self._above_one("original_max_position_embeddings")

    def _above_one(self, name: str) -> float:
        value = self.number(name)
        if value <= 1:
            raise CheckpointError(f"config.json: {self.field}: {name} is {value}; it must be above 1")
        return value

    def periods(self) -> Tensor:
        """Positions in which each pair turns by one radian, without scaling. Shapes: [width/2]."""
        exponents = torch.arange(0, self.width, 2, dtype=torch.float32) / self.width
        return torch.pow(self.base, exponents)

    def factors(self, name: str) -> Tensor:
        """A positive number for each pair. Shapes: [width/2]."""
        values, count = self.parameters.get(name), self.width // 2
        good = isinstance(values, list) and len(values) == count
        if not good or not all(type(v) in (int, float) and v > 0 for v in values or []):
            raise CheckpointError(f"config.json: {self.field}: {name} must be a list of {count} positive numbers")
        return torch.tensor(values, dtype=torch.float32)


Found = tuple[Tensor, float, int]


def _default(p: _Parser) -> Found:
    return 1.0 / p.periods(), 1.0, p.limit


def _linear(p: _Parser) -> Found:
    return 1.0 / p.periods() / p.number("factor"), 1.0, p.limit


def _dynamic(p: _Parser) -> Found:
    """Scaled only beyond max_position_embeddings, where we do not go."""
    p.number("factor")
    return _default(p)


def _llama3(p: _Parser) -> Found:
    """Long waves are stretched, short ones kept, and those between interpolated."""
    factor, low, high = (p.number(name) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    if high <= low:
        raise CheckpointError(f"config.json: {p.field}: high_freq_factor {high} must be above low_freq_factor {low}")
    frequencies = 1.0 / p.periods()
    lengths = 2 * math.pi / frequencies
    stretched = torch.where(lengths > p.original / low, frequencies / factor, frequencies)
    smooth = (p.original / lengths - low) / (high - low)
    between = ~(lengths < p.original / high) & ~(lengths > p.original / low)
    blended = (1 - smooth) * stretched / factor + smooth * stretched
    return torch.where(between, blended, stretched), 1.0, p.limit


def _yarn(p: _Parser) -> Found:
    """Between two pairs, found from how often each turns in the original length, a ramp from kept to stretched."""
    factor, truncated = p.number("factor", p.limit / p.original), p.parameters.get("truncate", True)
    if not isinstance(truncated, bool):
        raise CheckpointError(f"config.json: {p.field}: truncate is {truncated!r}; it must be true or false")

    def turning(turns: float) -> float:
        return p.width * math.log(p.original / (turns * 2 * math.pi)) / (2 * math.log(p.base))

    first, last = (turning(p.number(name, default)) for name, default in _BETAS.items())
    if truncated:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, p.width - 1)
    last += 0.001 if first == last else 0
    ramp = ((torch.arange(p.width // 2, dtype=torch.float32) - first) / (last - first)).clamp(0, 1)
    kept, periods = 1 - ramp, p.periods()
    scale = p.number("attention_factor", _yarn_scale(p, factor))
    return 1.0 / (factor * periods) * (1 - kept) + 1.0 / periods * kept, scale, p.limit


def _yarn_scale(p: _Parser, factor: float) -> float:
    def growth(strength: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * strength * math.log(factor) + 1.0

    if p.parameters.get("mscale") and p.parameters.get("mscale_all_dim"):
        return growth(p.number("mscale")) / growth(p.number("mscale_all_dim"))
    return growth(1.0)


def _longrope(p: _Parser) -> Found:
    """With the factors for short inputs. Beyond those, a session would have keys that were turned in two ways."""
    p.factors("long_factor")
    factor = p.number("factor", p.limit / p.original)
    inferred = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(p.original))
    frequencies = 1.0 / (p.factors("short_factor") * p.periods())
    return frequencies, p.number("attention_factor", inferred), min(p.limit, int(p.original))


_KINDS: Mapping[str, tuple[Callable[[_Parser], Found], tuple[str, ...]]] = {
    "default": (_default, ()),
    "linear": (_linear, ("factor",)),
    "dynamic": (_dynamic, ("factor",)),
    "llama3": (_llama3, ("factor", "low_freq_factor", "high_freq_factor")),
    "yarn": (_yarn, ("factor", "attention_factor", *_BETAS, "mscale", "mscale_all_dim", "truncate")),
    "longrope": (_longrope, ("factor", "attention_factor", "short_factor", "long_factor")),
}
"""By rope_type: the formula, and the fields that it reads beside the common ones."""
