"""ATen operators as operations of a graph: axes, slices, sums along axes, choices by constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.arithmetic import Maximum, Mean, Sum
from secure.models.graph.builder import GraphBuilder, Indices, Value
from secure.models.graph.lowering import (
    Operand,
    add,
    is_mask,
    masked,
    multiply,
    permute,
    reshape,
)
from secure.models.graph.operation import MOST_SUMMED
from secure.models.graph.views import Concatenate, Expand, Flip, Pad, Slice
from secure.protocols.core.errors import UnsupportedOperator


def same(b: GraphBuilder, x: Value, *_: Any, **__: Any) -> Value:
    """clone, alias, detach: secrets have no storage of their own."""
    return x


def to_copy(b: GraphBuilder, x: Value | Indices, *, dtype: torch.dtype | None = None, **_: Any) -> Value | Indices:
    """Another type or device. Real numbers stay real: fixed point has one type of them."""
    whole = dtype is not None and not dtype.is_floating_point
    if dtype is not None and whole != isinstance(x, Indices):
        raise UnsupportedOperator(f"a conversion to {dtype}")
    return x


def expand(b: GraphBuilder, x: Value, shape: Sequence[int], *, implicit: bool = False) -> Value:
    new = len(shape) - len(x.shape)
    to = tuple(x.shape[i - new] if n == -1 else n for i, n in enumerate(shape))
    if to == x.shape:
        return x
    expanded = b.add(Expand(to), x)
    if x in b.unit_rows:  # a norm that every element of its row is divided by
        b.unit_rows[expanded] = b.unit_rows[x]
    return expanded


def repeat(b: GraphBuilder, x: Value, times: Sequence[int]) -> Value:
    shape = [1] * (len(times) - len(x.shape)) + list(x.shape)
    apart = [n for length in shape for n in (1, length)]
    copies = [n for pair in zip(times, shape, strict=True) for n in pair]
    together = [count * length for count, length in zip(times, shape, strict=True)]
    return reshape(b, expand(b, reshape(b, x, apart), copies), together)


def transpose(b: GraphBuilder, x: Value, first: int, second: int) -> Value:
    dims = list(range(len(x.shape)))
    dims[first], dims[second] = dims[second], dims[first]
    return permute(b, x, dims)


def unsqueeze(b: GraphBuilder, x: Value, dim: int) -> Value:
    shape = list(x.shape)
    shape.insert(dim % (len(shape) + 1), 1)
    return reshape(b, x, shape)


def squeeze(b: GraphBuilder, x: Value, dims: Sequence[int]) -> Value:
    chosen = {dim % len(x.shape) for dim in dims}
    return reshape(b, x, [n for i, n in enumerate(x.shape) if i not in chosen or n != 1])


def slice_of(
    b: GraphBuilder, x: Value, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Value:
    dim %= len(x.shape)
    places = range(x.shape[dim])[start:stop:step]
    if len(places) == x.shape[dim]:
        return x
    if not places:
        raise UnsupportedOperator("an empty slice")
    return b.add(Slice(dim, places[0], places[-1] + 1, step), x)


def select(b: GraphBuilder, x: Value, dim: int, index: int) -> Value:
    dim %= len(x.shape)
    place = index % x.shape[dim]
    return reshape(b, slice_of(b, x, dim, place, place + 1), [n for i, n in enumerate(x.shape) if i != dim])


def flip(b: GraphBuilder, x: Value, dims: Sequence[int]) -> Value:
    return b.add(Flip(tuple(dim % len(x.shape) for dim in dims)), x) if dims else x


def split(b: GraphBuilder, x: Value, sizes: Sequence[int], dim: int = 0) -> list[Value]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice_of(b, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def concatenate(b: GraphBuilder, parts: Sequence[Value | Tensor], dim: int = 0) -> Value:
    values = [part if isinstance(part, Value) else b.offset(part) for part in parts]
    return values[0] if len(values) == 1 else b.add(Concatenate(dim % len(values[0].shape)), *values)


def pad(b: GraphBuilder, x: Value, amounts: Sequence[int], value: float = 0.0) -> Value:
    if value != 0 or min(amounts) < 0:
        raise UnsupportedOperator("padding with another number than zero, or by less than nothing")
    return b.add(Pad(tuple(amounts)), x)


def _axes(x: Value, dims: Sequence[int] | None) -> list[int]:
    return sorted({dim % len(x.shape) for dim in dims}) if dims else list(range(len(x.shape)))


def _kept(b: GraphBuilder, x: Value, axes: Sequence[int], *, keepdim: bool) -> Value:
    return x if keepdim else squeeze(b, x, axes)


def total(
    b: GraphBuilder, x: Value, dims: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    axes = _axes(x, dims)
    return _kept(b, b.add(Sum(tuple(axes)), x), axes, keepdim=keepdim) if axes else x


def mean(
    b: GraphBuilder, x: Value, dims: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    axes = _axes(x, dims)
    count = math.prod(x.shape[axis] for axis in axes)
    # Very many terms are averaged one axis after the other, so that no sum is too large for its truncation.
    parts = [tuple(axes)] if count <= MOST_SUMMED else [(axis,) for axis in axes]
    result = x
    for part in filter(None, parts):
        result = b.add(Mean(part), result)
    return _kept(b, result, axes, keepdim=keepdim)


def largest(b: GraphBuilder, x: Value, dims: Sequence[int] | None = None, keepdim: bool = False) -> Value:
    axes = _axes(x, dims)
    others = [axis for axis in range(len(x.shape)) if axis not in axes]
    together = reshape(b, permute(b, x, others + axes), [*(x.shape[axis] for axis in others), -1])
    found = b.add(Maximum(), together)
    return reshape(b, found, [1 if i in axes else n for i, n in enumerate(x.shape) if keepdim or i not in axes])


def where(b: GraphBuilder, condition: Value | Tensor, x: Operand, y: Operand) -> Value:
    """x where a constant condition holds, else y; what is minus infinity there is for a softmax, which follows."""
    if isinstance(condition, Value):
        raise UnsupportedOperator("a choice that depends on the input")
    if isinstance(x, Value) and not isinstance(y, Value):
        return where(b, ~condition, y, x)
    assert isinstance(y, Value)
    if isinstance(x, Value):
        return add(b, multiply(b, x, condition.double()), multiply(b, y, (~condition).double()))
    constant = torch.as_tensor(x, dtype=torch.float64)
    if is_mask(constant):
        return masked(b, y, torch.where(condition, constant, torch.zeros((), dtype=torch.float64)))
    chosen = multiply(b, y, (~condition).double())
    return add(b, chosen, torch.where(condition, constant, torch.zeros((), dtype=torch.float64)))
