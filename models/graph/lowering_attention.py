"""ATen operators as operations of a graph: softmax, and attention as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.arithmetic import Add, LogSoftmax, MultiplyNumber, Softmax, UnitRows
from secure.models.graph.builder import GraphBuilder, Value
from secure.models.graph.layers import Offset
from secure.models.graph.lowering import add, masked, matmul, multiply, number_times, permute
from secure.models.graph.lowering_views import total
from secure.protocols.core.errors import UnsupportedOperator
from secure.protocols.functions.softmax import MASKED


def last_axis(b: GraphBuilder, x: Value, dim: int, operation: Callable[[Value], Value]) -> Value:
    """An operation along the last axis, done along another one. The result has as many axes."""
    count = len(x.shape)
    dims = [i for i in range(count) if i != dim % count] + [dim % count]
    if dims == list(range(count)):
        return operation(x)
    back = [dims.index(i) for i in range(count)]
    return permute(b, operation(permute(b, x, dims)), back)


def softmax(b: GraphBuilder, x: Value, dim: int, dtype: Any = None) -> Value:
    return last_axis(b, x, dim, lambda scores: probabilities(b, scores))


def log_softmax(b: GraphBuilder, x: Value, dim: int, dtype: Any = None) -> Value:
    return last_axis(b, x, dim, lambda scores: b.add(LogSoftmax(), scores))


def norm(
    b: GraphBuilder,
    x: Value,
    order: float = 2,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Value:
    """Euclidean norm along one axis, as the sum of x times x / norm, which whoever divides by the norm gets at once."""
    axes = list(range(len(x.shape))) if dims is None else list(dims)
    if order != 2 or len(axes) != 1:
        raise UnsupportedOperator("a norm that is not the Euclidean one along one axis")
    rows = last_axis(b, x, axes[0], lambda given: b.add(UnitRows(), given))
    found = total(b, multiply(b, x, rows), axes, keepdim=keepdim)
    b.unit_rows[found] = x, rows
    return found


def probabilities(b: GraphBuilder, scores: Value) -> Value:
    """Softmax along the last axis, of powers of two where the scores can have the factor log2(e) for free."""
    exponents = _in_base_two(b, scores)
    return b.add(Softmax(base_two=exponents is not None), scores if exponents is None else exponents)


def _in_base_two(b: GraphBuilder, scores: Value) -> Value | None:
    """scores * log2(e), if they are multiplied by a number anyway; masks that are added later on are scaled, too."""
    step = b.steps.get(scores)
    if step is not None and isinstance(step.operation, MultiplyNumber):
        return b.add(MultiplyNumber(step.operation.number * math.log2(math.e)), *step.values)
    if step is not None and isinstance(step.operation, Add):
        exponents, mask = _in_base_two(b, step.values[0]), b.steps.get(step.values[1])
        if exponents is not None and mask is not None and isinstance(mask.operation, Offset):
            (name,) = mask.parameters
            addend = (b.tensor(name) * math.log2(math.e)).reshape(mask.operation.to)
            return b.add(Add(), exponents, b.offset(b.name_tensor(addend, f"{name}.base_two")))
    return None


def attention(
    b: GraphBuilder,
    q: Value,
    k: Value | Tensor,
    v: Value | Tensor,
    attn_mask: Value | Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """softmax(q k^T scale + mask) v. Shapes: [..., T, E], [..., S, E], [..., S, V] -> [..., T, V]."""
    if dropout_p or enable_gqa or not all(isinstance(x, Value) for x in (q, k, v)):
        raise UnsupportedOperator("attention with dropout (call module.eval()), with grouped heads, or of a constant")
    assert isinstance(k, Value) and isinstance(v, Value)
    axes = list(range(len(k.shape)))
    scores = matmul(b, q, permute(b, k, [*axes[:-2], axes[-1], axes[-2]]))
    scores = number_times(b, scores, q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        rows, columns = scores.shape[-2:]
        later = torch.ones(rows, columns, dtype=torch.bool).triu(1)
        scores = masked(b, scores, later.to(torch.float64) * MASKED)
    if isinstance(attn_mask, Value):
        scores = add(b, scores, attn_mask)
    elif attn_mask is not None:
        additive = (~attn_mask).to(torch.float64) * MASKED if attn_mask.dtype == torch.bool else attn_mask
        scores = masked(b, scores, additive)
    return matmul(b, probabilities(b, scores), v)
