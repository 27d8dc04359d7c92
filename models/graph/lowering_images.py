"""ATen operators as operations of a graph: convolutions, and norms with running or other statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from secure.models.graph.builder import GraphBuilder, TracedNode, Value
from secure.models.graph.layers import Convolution, LayerNorm, LinearLayer, RootMeanSquareNorm
from secure.models.graph.lowering import add, multiply, pair, reshape
from secure.models.graph.views import Reshape
from secure.protocols.core.errors import UnsupportedOperator


def convolution(
    b: GraphBuilder,
    x: Value,
    weight: Value | Tensor,
    bias: Value | Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Sequences or images convolved. Shapes: [B, C, L] or [B, C, H, W], weight [N, C/G, kernel] -> [B, N, ...]."""
    if transposed or not isinstance(weight, Tensor) or isinstance(bias, Value) or weight.dim() not in (3, 4):
        raise UnsupportedOperator(
            "a transposed or three-dimensional convolution, or one with kernels that are no constants"
        )
    original, flat = weight, weight.dim() == 3
    shape = x.shape
    if flat:
        x = reshape(b, x, [*shape[:2], 1, shape[2]])
        weight = weight.unsqueeze(2)
        stride, padding, dilation = [1, *stride], [0, *padding], [1, *dilation]
    kernels = weight.shape[0]
    zeros = torch.zeros(kernels, dtype=weight.dtype) if bias is None else bias
    names = [
        b.parameter(_matrix(weight, groups), "factor", "weight", original=original, form=f"kernels, {groups}"),
        b.parameter(zeros, "offset", "bias"),
    ]
    size = pair(weight.shape[2:])
    operation = Convolution(size, pair(stride), pair(padding), pair(dilation), private=b.private)
    result = b.add(operation, x, parameters=names)
    return reshape(b, result, [*result.shape[:2], result.shape[3]]) if flat else result


def _matrix(weight: Tensor, groups: int) -> Tensor:
    """Kernels as columns, with zeros where a group does not read a channel. [N, C/G, h, w] -> [C h w, N]."""
    kernels = weight.flatten(1).unflatten(0, (groups, -1))  # [G, N/G, C/G h w]
    matrix: Tensor = torch.block_diag(*kernels.transpose(1, 2))
    return matrix


def batch_norm(
    b: GraphBuilder,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    fold: bool,
) -> tuple[Value, None, None]:
    """By running statistics. fold: into the convolution or linear layer that made x, which nothing else reads."""
    _check_constants(weight, bias, running_mean, running_var)
    scale = torch.rsqrt(running_var.double() + eps) * (1 if weight is None else weight.double())
    offset = (0 if bias is None else bias.double()) - running_mean.double() * scale
    step = _foldable(b, x) if fold else None
    if step is not None:
        matrix, addend = (b.tensor(name) for name in step.parameters)
        folded = matrix * scale, addend * scale + offset
        for name, tensor in zip(step.parameters, folded, strict=True):
            b.name_tensor(tensor, f"{name}.normalised")
        names = [b.parameter(folded[0], "factor", "weight"), b.parameter(folded[1], "offset", "bias")]
        return reshape(b, b.add(step.operation, *step.values, parameters=names), list(x.shape)), None, None
    shape = [-1] + [1] * (len(x.shape) - 2)
    return add(b, multiply(b, x, scale.reshape(shape)), offset.reshape(shape)), None, None


def _check_constants(*tensors: object) -> None:
    if any(isinstance(tensor, Value) for tensor in tensors):
        raise UnsupportedOperator("a norm whose gain, offset or statistics depend on the input")


def _foldable(b: GraphBuilder, x: Value) -> TracedNode | None:
    """The convolution or linear layer that made x, whose columns are x's channels; of sequences through a reshape."""
    step = b.steps.get(x)
    if step is not None and isinstance(step.operation, Reshape):
        step = b.steps.get(step.values[0])
        if step is None or not isinstance(step.operation, Convolution) or step.result.shape[:2] != x.shape[:2]:
            return None
    if step is None or not isinstance(step.operation, Convolution | LinearLayer):
        return None
    return step if isinstance(step.operation, Convolution) or len(x.shape) == 2 else None


def layer_norm(
    b: GraphBuilder,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    _check_constants(weight, bias)
    count = math.prod(normalized_shape)
    gain = torch.ones(count) if weight is None else weight.reshape(-1)
    offset = torch.zeros(count) if bias is None else bias.reshape(-1)
    names = [
        b.parameter(gain, "gain", "weight", original=weight, form="flat"),
        b.parameter(offset, "offset", "bias", original=bias, form="flat"),
    ]
    rows = reshape(b, x, [*x.shape[: len(x.shape) - len(normalized_shape)], count])
    return reshape(b, b.add(LayerNorm(float(eps)), rows, parameters=names), list(x.shape))


def rms_norm(
    b: GraphBuilder, x: Value, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Value:
    _check_constants(weight)
    count = math.prod(normalized_shape)
    gain = torch.ones(count) if weight is None else weight.reshape(-1)
    name = b.parameter(gain, "gain", "weight", original=weight, form="flat")
    rows = reshape(b, x, [*x.shape[: len(x.shape) - len(normalized_shape)], count])
    epsilon = torch.finfo(torch.float32).eps if eps is None else float(eps)
    return reshape(b, b.add(RootMeanSquareNorm(epsilon), rows, parameters=[name]), list(x.shape))


def group_norm(
    b: GraphBuilder,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Value, None, None]:
    _check_constants(weight, bias)
    rows = reshape(b, x, [batch, groups, channels // groups * positions])
    normal = reshape(b, layer_norm(b, rows, rows.shape[-1:], eps=eps), list(x.shape))
    shape = [channels] + [1] * (len(x.shape) - 2)
    normal = normal if weight is None else multiply(b, normal, weight.reshape(shape))
    return normal if bias is None else add(b, normal, bias.reshape(shape)), None, None
