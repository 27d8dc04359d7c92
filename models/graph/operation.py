"""What a node of a graph may compute. Every operation is a value: its settings are fields of simple types.

A description comes from outside. So an operation says what shape it makes of its arguments' shapes, and refuses shapes
that it does not take, before anything runs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch

from secure.models.contract.manifest import Kind
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Protocol, Secret

Shape = tuple[int, ...]
MOST_ELEMENTS = 1 << 26
"""The most elements of one secret tensor: half a gigabyte, in each of the forms that a party holds it in."""
MOST_SUMMED = 1 << 12
"""Terms of one sum: with 2^13 in magnitude each, their mean's truncation still fits the ring."""
_MOST_INTEGER = 1 << 31
_MOST_DIMENSIONS = 8


def require(condition: bool, problem: str) -> None:
    """Raises CheckpointError, saying what is wrong, unless the condition holds."""
    if not condition:
        raise CheckpointError(problem)


@dataclass(frozen=True)
class Operation(ABC):
    """One row of the table. values: how many secret arguments, None for one or more; kinds: of its parameters."""

    values: ClassVar[int | None] = 1
    kinds: ClassVar[tuple[Kind, ...]] = ()

    @abstractmethod
    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        """The result's shape. Raises CheckpointError when the arguments' shapes or the settings do not fit."""

    @abstractmethod
    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        """On secrets, and on parameters as the protocol prepared them. Secrets have the policy's fraction bits."""

    @classmethod
    def from_settings(cls, settings: object) -> Self:
        """From plain values of a description. Raises CheckpointError for any other names or types."""
        kinds = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(settings, dict) or set(settings) != set(kinds):
            raise CheckpointError(f"settings of {cls.__name__} must be {sorted(kinds)}")
        return cls(**{name: _checked(f"{cls.__name__}.{name}", kinds[name], settings[name]) for name in kinds})

    @property
    def settings(self) -> dict[str, Any]:
        """Inverse of `from_settings`, as JSON gives it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _checked(name: str, kind: str, value: object) -> Any:
    if kind == "Shape":
        right = isinstance(value, list | tuple) and len(value) <= _MOST_DIMENSIONS and all(map(_is_integer, value))
        return tuple(value) if right else _refuse(name, value)  # type: ignore[arg-type]
    if kind == "float":
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if right else _refuse(name, value)  # type: ignore[arg-type]
    right = {"int": _is_integer(value), "bool": isinstance(value, bool), "str": isinstance(value, str)}[kind]
    return value if right else _refuse(name, value)


def _is_integer(value: object) -> bool:
    return type(value) is int and -_MOST_INTEGER < value < _MOST_INTEGER


def _refuse(name: str, value: object) -> None:
    raise CheckpointError(f"{name} is {str(value)[:40]!r}, of a wrong type or out of range")


def check_size(shape: Sequence[int], what: str) -> Shape:
    """The shape. Raises CheckpointError when it is none, is empty or larger than anything we compute on."""
    require(
        len(shape) <= _MOST_DIMENSIONS, f"{what} has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are served"
    )
    require(
        all(_is_integer(n) and n > 0 for n in shape), f"{what} has shape {list(shape)[:8]}; each length is positive"
    )
    elements = math.prod(shape)
    require(elements <= MOST_ELEMENTS, f"{what} has {elements} elements; at most {MOST_ELEMENTS} are served")
    return tuple(shape)


def check_dim(dim: int, shape: Shape, what: str) -> int:
    """Raises CheckpointError unless it is an axis, counted from zero."""
    require(0 <= dim < len(shape), f"{what} has no axis {dim} in shape {list(shape)}")
    return dim


def broadcast(shapes: Sequence[Shape], what: str) -> Shape:
    """What torch broadcasts them to. Raises CheckpointError when it does not."""
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        raise CheckpointError(f"{what}: shapes {[list(s) for s in shapes]} do not go together") from None
