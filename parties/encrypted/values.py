"""Tensors of floats as messages and back: embeddings, hidden states, logits, pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from secure.parties.encrypted.generation_pb2 import Values
from secure.protocols.core.errors import InputError

_TYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_MOST_DIMENSIONS = 4


def to_values(tensor: Tensor) -> Values:
    """Shapes: any float tensor of the CPU."""
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
    return Values(type=_NAMES[tensor.dtype], shape=tensor.shape, data=raw.numpy().tobytes())


def from_values(values: Values) -> Tensor:
    """The tensor in a message. Raises InputError when type, shape and bytes do not belong together."""
    kind, shape = _TYPES.get(values.type), tuple(values.shape)
    if kind is None:
        raise InputError(f"values of type {values.type[:16]!r}; known are {', '.join(_TYPES)}")
    if not 0 < len(shape) <= _MOST_DIMENSIONS or math.prod(shape) * kind.itemsize != len(values.data):
        raise InputError(f"values of {len(values.data)} bytes do not have the shape that their message names")
    if not values.data:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(values.data), dtype=kind).view(shape)
