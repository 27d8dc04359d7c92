"""Small gates of a role on a card run on its host: a round of theirs is many launches and hardly any work.

Comparisons for a row each, as in norms and for the sums of a softmax, are a third of a transformer's rounds. What is
sent is the same wherever a gate runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secure.protocols.masked.gate import Gate
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.weights import Matrix

MOST_ELEMENTS = 1 << 11
"""Elements of an input up to which a gate runs on the host."""


def is_small(gate: Gate[Any]) -> bool:
    """Whether a gate's inputs are few numbers. Matrices were loaded to the card and are needed there."""
    inputs = _inputs(gate).values()
    if any(isinstance(value, Matrix) for value in inputs):
        return False
    return all(tensor.numel() <= MOST_ELEMENTS for value in inputs for tensor in _tensors(value))


def moved(value: Any, device: torch.device) -> Any:
    """A tensor, pair or gate, or a tuple of such, on a device. What has no contents, as at the dealer, stays."""
    if isinstance(value, Tensor):
        return value if value.is_meta else value.to(device, non_blocking=device.type != "cpu")
    if isinstance(value, tuple):
        return tuple(moved(part, device) for part in value)
    if isinstance(value, Pair):
        return value.map(partial(moved, device=device))
    if isinstance(value, Gate):
        return replace(value, **{name: moved(part, device) for name, part in _inputs(value).items()})
    return value


def _inputs(gate: Gate[Any]) -> dict[str, Any]:
    """The fields of a gate, without what it worked out of them and kept."""
    known = vars(gate)
    return {field.name: known[field.name] for field in fields(gate)}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Pair):
        yield from (part for part in (value.opened, value.mask, value.first) if part is not None)
