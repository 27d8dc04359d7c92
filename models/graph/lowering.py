"""ATen operators as operations of a graph: the arithmetic, and the table of all.

Each function takes what the ATen operator takes, in its order. An argument is a `Value` where it depends on the
module's inputs, and a plain tensor where it follows from weights and constants alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.arithmetic import (
    Add,
    AddNumber,
    AtLeast,
    Divide,
    Function,
    Larger,
    Matmul,
    Mean,
    Multiply,
    MultiplyNumber,
    Subtract,
)
from secure.models.graph.builder import GraphBuilder, Indices, TracedNode, Value
from secure.models.graph.layers import LinearLayer, RootMeanSquareNorm
from secure.models.graph.views import PermuteAxes, Reshape
from secure.protocols.core.errors import UnsupportedOperator
from secure.protocols.functions.softmax import MASKED

Operand = Value | Tensor | float
LEAST_THRESHOLD = 9
"""The least threshold of a softplus: e^-9 is 1.2e-4, what ours is off by."""


def add(b: GraphBuilder, x: Operand, y: Operand, alpha: float = 1) -> Value:
    if not isinstance(x, Value):
        x, y, alpha = scaled(b, y, alpha), x, 1
    return add(b, y, x) if not isinstance(x, Value) else _add(b, x, y, alpha)


def _add(b: GraphBuilder, x: Value, y: Operand, alpha: float) -> Value:
    if isinstance(y, Value):
        return b.add(Add(), x, y if alpha == 1 else number_times(b, y, alpha))
    if isinstance(y, Tensor):
        addend = y * alpha if alpha != 1 else y
        return masked(b, x, addend) if is_mask(addend) else b.add(Add(), x, b.offset(addend))
    return x if y * alpha == 0 else b.add(AddNumber(float(y * alpha)), x)


def scaled(b: GraphBuilder, x: Operand, factor: float) -> Operand:
    if factor == 1:
        return x
    return number_times(b, x, factor) if isinstance(x, Value) else x * factor


def subtract(b: GraphBuilder, x: Operand, y: Operand, alpha: float = 1) -> Value:
    if isinstance(x, Value) and isinstance(y, Value):
        return b.add(Subtract(), x, y if alpha == 1 else number_times(b, y, alpha))
    return add(b, x, scaled(b, y, -alpha))


def reverse_subtract(b: GraphBuilder, x: Operand, y: Operand, alpha: float = 1) -> Value:
    return subtract(b, y, x, alpha)


def multiply(b: GraphBuilder, x: Operand, y: Operand) -> Value:
    if not isinstance(x, Value):
        x, y = y, x
    assert isinstance(x, Value)
    if isinstance(y, Value):
        normal = _normal_rows(b, x, y) or _normal_rows(b, y, x)
        return b.add(Multiply(), x, y) if normal is None else normal
    return b.add(Multiply(), x, b.gain(y)) if isinstance(y, Tensor) else number_times(b, x, y)


def _normal_rows(b: GraphBuilder, x: Value, y: Value) -> Value | None:
    """RMSNorm where it is written out: x times y = rsqrt(mean of x^2 along the last axis + epsilon)."""
    path: list[TracedNode] = []
    step = b.steps.get(y)
    while step is not None and len(path) < 4:
        path.append(step)
        step = b.steps.get(step.values[0]) if step.values else None
    match [each.operation for each in path]:
        case [Function("rsqrt"), AddNumber(epsilon), Mean(dims), Multiply()]:
            if path[-1].values == (x, x) and dims == (len(x.shape) - 1,) and 0 <= epsilon <= 1:
                name = b.parameter(torch.ones(x.shape[-1]), "gain", "ones")
                return b.add(RootMeanSquareNorm(epsilon), x, parameters=[name])
    return None


def number_times(b: GraphBuilder, x: Value, number: float) -> Value:
    return x if number == 1 else b.add(MultiplyNumber(float(number)), x)


def negate(b: GraphBuilder, x: Value) -> Value:
    return number_times(b, x, -1)


def divide(b: GraphBuilder, x: Operand, y: Operand, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise UnsupportedOperator(f"division with rounding_mode {rounding_mode!r}")
    if isinstance(y, Value):
        return quotient(b, x, y)
    if not isinstance(y, Tensor) and y == 0:
        raise UnsupportedOperator("division by zero")
    return multiply(b, x, 1 / y)


def quotient(b: GraphBuilder, x: Operand, y: Value) -> Value:
    rows, normalised = b.unit_rows.get(y, (None, None))
    if normalised is not None and x is rows:
        return normalised
    if not isinstance(x, Value):
        x = b.offset(x if isinstance(x, Tensor) else torch.tensor(float(x)))
    return b.add(Divide(), x, y)


def reciprocal(b: GraphBuilder, x: Value) -> Value:
    return quotient(b, 1.0, x)


def power(b: GraphBuilder, x: Value, exponent: float) -> Value:
    if exponent not in (1, 2, 3):
        raise UnsupportedOperator(f"a power of {exponent}; 1, 2 and 3 are served")
    result = x
    for _ in range(int(exponent) - 1):
        result = b.add(Multiply(), result, x)
    return result


def function(name: str) -> Callable[[GraphBuilder, Value], Value]:
    def lower(b: GraphBuilder, x: Value) -> Value:
        return b.add(Function(name), x)

    return lower


_relu = function("relu")


def gelu(b: GraphBuilder, x: Value, approximate: str = "none") -> Value:
    return b.add(Function("gelu" if approximate == "none" else "gelu_tanh"), x)


def elu(b: GraphBuilder, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    """scale x above zero, scale alpha (e^(input_scale x) - 1) below."""
    if not input_scale > 0:
        raise UnsupportedOperator(f"ELU with input_scale {input_scale}; positive ones are served")
    # With y = input_scale x, ELU(y) - ReLU(y) is what is below zero.
    below = number_times(b, b.add(Function("elu"), number_times(b, x, input_scale)), scale * alpha)
    left = scale - scale * alpha * input_scale
    return below if math.isclose(left, 0, abs_tol=2.0**-24) else add(b, below, number_times(b, _relu(b, x), left))


def softplus(b: GraphBuilder, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """ln(1 + e^(beta x)) / beta; above the threshold it is x, which it is anyway up to e^-threshold."""
    if not beta > 0 or threshold < LEAST_THRESHOLD:
        raise UnsupportedOperator(
            f"softplus with beta {beta} and threshold {threshold}; served are positive ones, and thresholds from "
            f"{LEAST_THRESHOLD} on"
        )
    return number_times(b, b.add(Function("softplus"), number_times(b, x, beta)), 1 / beta)


def leaky_relu(b: GraphBuilder, x: Value, negative_slope: float = 0.01) -> Value:
    positive = _relu(b, x)
    return add(b, number_times(b, subtract(b, x, positive), negative_slope), positive)


def parametric_relu(b: GraphBuilder, x: Value, slope: Value | Tensor) -> Value:
    """Slopes are one for all, or one for each channel, which is the second axis."""
    if isinstance(slope, Value):
        raise UnsupportedOperator("PReLU with a slope that depends on the input")
    channels = [-1] + [1] * (len(x.shape) - 2) if slope.numel() > 1 else [1]
    positive = _relu(b, x)
    return add(b, multiply(b, subtract(b, x, positive), slope.reshape(channels)), positive)


def absolute(b: GraphBuilder, x: Value) -> Value:
    positive = _relu(b, x)
    return subtract(b, positive, subtract(b, x, positive))


def maximum(b: GraphBuilder, x: Operand, y: Operand) -> Value:
    if not isinstance(x, Value):
        x, y = y, x
    assert isinstance(x, Value)
    if isinstance(y, Tensor):
        y = b.offset(y)
    return b.add(Larger(), x, y) if isinstance(y, Value) else b.add(AtLeast(float(y)), x)


def minimum(b: GraphBuilder, x: Operand, y: Operand) -> Value:
    return negate(b, maximum(b, scaled(b, x, -1), scaled(b, y, -1)))


def clamp(b: GraphBuilder, x: Value, low: float | None = None, high: float | None = None) -> Value:
    if x in b.unit_rows and high is None and low is not None and low < 2.0**-12:
        return x  # norms are not negative, and divided rows of norm zero are zero anyway
    x = x if low is None else maximum(b, x, low)
    return x if high is None else minimum(b, x, high)


def hard_tanh(b: GraphBuilder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return clamp(b, x, low, high)


def hard_sigmoid(b: GraphBuilder, x: Value) -> Value:
    """min(max(x / 6 + 1 / 2, 0), 1), of what is clamped before, as x + 3 may leave the range."""
    return number_times(b, add(b, clamp(b, x, -3.0, 3.0), 3.0), 1 / 6)


def hard_swish(b: GraphBuilder, x: Value) -> Value:
    """x min(max(x + 3, 0), 6) / 6, divided before it is multiplied."""
    return multiply(b, x, hard_sigmoid(b, x))


def permute(b: GraphBuilder, x: Value, dims: list[int]) -> Value:
    return b.add(PermuteAxes(tuple(dim % len(dims) for dim in dims)), x)


def reshape(b: GraphBuilder, x: Value, shape: list[int]) -> Value:
    """At most one length is -1."""
    to = tuple(torch.empty(x.shape, device="meta").reshape(shape).shape)
    return x if to == x.shape else b.add(Reshape(to), x)


def pair(x: int | Sequence[int]) -> tuple[int, int]:
    """One number for height and one for width; a sequence has width alone."""
    if isinstance(x, int):
        return x, x
    return (int(x[0]), int(x[-1])) if len(x) == 2 else (int(x[0]),) * 2


def is_mask(x: Tensor) -> bool:
    """Whether it has numbers that stand for minus infinity."""
    return x.is_floating_point() and bool((x <= MASKED).any())


def masked(b: GraphBuilder, scores: Value, mask: Tensor) -> Value:
    """Scores with an additive mask, for a softmax: what counts as minus infinity becomes MASKED."""
    if not b.for_softmax:
        raise UnsupportedOperator(f"constants of {MASKED:g} or less, such as minus infinity, where no softmax follows")
    if bool(torch.isposinf(mask).any()) or bool(torch.isnan(mask).any()):
        raise UnsupportedOperator("a mask with NaN or positive infinity")
    if bool((mask <= MASKED).all(-1).any()):
        raise UnsupportedOperator("a mask that leaves a row of scores empty")
    finite = mask.to(torch.float64).clamp(min=MASKED)
    return b.add(Add(), scores, b.offset(b.name_tensor(finite, b.names.get(id(mask), f"{b.layer}.mask"))))


def matmul(b: GraphBuilder, x: Value | Tensor, y: Value | Tensor) -> Value:
    if isinstance(x, Value) and isinstance(y, Tensor) and y.dim() == 2 and len(x.shape) >= 2:
        return dense(b, x, y, None)
    x, y = (side if isinstance(side, Value) else b.gain(side) for side in (x, y))
    row, column = len(x.shape) == 1, len(y.shape) == 1
    x = reshape(b, x, [1, *x.shape]) if row else x
    y = reshape(b, y, [*y.shape, 1]) if column else y
    result = b.add(Matmul(), x, y)
    shape = list(result.shape[:-2]) + ([] if row else [result.shape[-2]]) + ([] if column else [result.shape[-1]])
    return reshape(b, result, shape)


def dense(b: GraphBuilder, x: Value, weight: Tensor, bias: Tensor | None, *, transposed: bool = False) -> Value:
    """x @ weight + bias. Shapes: [..., K], [K, N], [N]; the weight transposed: [N, K]."""
    original, form = weight, "transposed" if transposed else ""
    weight = weight.T if transposed else weight
    zeros = torch.zeros(weight.shape[1], dtype=weight.dtype) if bias is None else bias
    names = [
        b.parameter(weight, "factor", "weight", original=original, form=form),
        b.parameter(zeros, "offset", "bias"),
    ]
    rows = reshape(b, x, [1, *x.shape]) if len(x.shape) == 1 else x
    return reshape(b, b.add(LinearLayer(), rows, parameters=names), [*x.shape[:-1], weight.shape[1]])


def linear(b: GraphBuilder, x: Value | Tensor, weight: Value | Tensor, bias: Value | Tensor | None = None) -> Value:
    """x @ weight^T + bias. Shapes: [..., K], [N, K], [N]."""
    if isinstance(x, Value) and isinstance(weight, Tensor) and not isinstance(bias, Value):
        return dense(b, x, weight, bias, transposed=True)
    turned = permute(b, weight, [1, 0]) if isinstance(weight, Value) else weight.T
    product = matmul(b, x, turned)
    return product if bias is None else add(b, product, bias)


def add_product(
    b: GraphBuilder, addend: Operand, x: Value | Tensor, y: Value | Tensor, beta: float = 1, alpha: float = 1
) -> Value:
    """addmm, baddbmm."""
    product = scaled(b, matmul(b, x, y), alpha)
    return add(b, product, scaled(b, addend, beta))


def embedding(b: GraphBuilder, table: Value | Tensor, indices: Indices | Value | Tensor, *_: Any) -> Value:
    if not isinstance(table, Tensor) or not isinstance(indices, Indices):
        raise UnsupportedOperator("an embedding of something else than an input of indices, in a table of the module")
    return b.embed(indices, table)
