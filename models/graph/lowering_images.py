"""ATen operators as operations of a graph: convolutions, pooling, and norms with running or other statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.arithmetic import Maximum, Sum
from secure.models.graph.builder import GraphBuilder, Step, Value
from secure.models.graph.layers import Convolution, LayerNorm, LinearLayer
from secure.models.graph.lowering import add, multiply, number_times, reshape
from secure.models.graph.lowering_views import mean
from secure.models.graph.views import Reshape, Window, Windows
from secure.protocols.core.errors import UnsupportedOperator


def _pair(x: int | Sequence[int]) -> tuple[int, int]:
    """One number for height and one for width; a sequence has width alone."""
    if isinstance(x, int):
        return x, x
    return (int(x[0]), int(x[-1])) if len(x) == 2 else (int(x[0]),) * 2


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
    size = _pair(weight.shape[2:])
    operation = Convolution(size, _pair(stride), _pair(padding), _pair(dilation), private=b.private)
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


def _foldable(b: GraphBuilder, x: Value) -> Step | None:
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


def _windows(
    b: GraphBuilder, x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, *, ceil_mode: bool, edge: bool
) -> Value:
    """Shapes: [B, C, H, W] -> [B, C, rows, columns, kernel elements]."""
    size = _pair(kernel)
    window = Window(size, _pair(stride) if stride else size, _pair(padding), _pair(dilation))
    if ceil_mode and any(
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, k, s, p, d in zip(x.shape[2:], size, window.stride, window.padding, window.dilation, strict=True)
    ):
        raise UnsupportedOperator("pooling with ceil_mode and windows that leave the image")
    return b.add(Windows(size, window.stride, window.padding, window.dilation, edge), x)


def max_pool(
    b: GraphBuilder,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    image = _image(b, x)
    if _pair(padding) != (0, 0) and _pair(dilation) != (1, 1):
        raise UnsupportedOperator("max pooling with padding and dilation together")
    windows = _windows(b, image, kernel, stride, padding, dilation, ceil_mode=ceil_mode, edge=True)
    return _pooled(b, x, b.add(Maximum(), windows))


def max_pool_with_indices(b: GraphBuilder, x: Value, *arguments: Any, **named: Any) -> tuple[Value, None]:
    return max_pool(b, x, *arguments, **named), None


def average_pool(
    b: GraphBuilder,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    image = _image(b, x)
    windows = _windows(b, image, kernel, stride, padding, 1, ceil_mode=ceil_mode, edge=False)
    summed = _pooled(b, x, b.add(Sum((4,)), windows))
    if count_include_pad or _pair(padding) == (0, 0):
        return number_times(b, summed, 1 / (divisor_override or math.prod(_pair(kernel))))
    if divisor_override:
        return number_times(b, summed, 1 / divisor_override)
    ones = torch.ones(1, 1, *image.shape[2:], dtype=torch.float64)
    size = _pair(kernel)
    counts = Window(size, _pair(stride) if stride else size, _pair(padding), (1, 1)).of(ones, edge=False).sum(-1)
    return multiply(b, summed, 1 / counts[0, 0])


def adaptive_average_pool(b: GraphBuilder, x: Value, output_size: Sequence[int]) -> Value:
    image = _image(b, x)
    sizes = [given or length for given, length in zip(output_size, image.shape[2:], strict=True)]
    if any(length % size for length, size in zip(image.shape[2:], sizes, strict=True)):
        raise UnsupportedOperator(f"adaptive pooling of {list(image.shape[2:])} to {sizes}, which does not divide it")
    if sizes == [1, 1]:
        return mean(b, x, [-2, -1], keepdim=True)
    kernel = [length // size for length, size in zip(image.shape[2:], sizes, strict=True)]
    return average_pool(b, x, kernel)


def _image(b: GraphBuilder, x: Value) -> Value:
    """With a batch."""
    return reshape(b, x, [1, *x.shape]) if len(x.shape) == 3 else x


def _pooled(b: GraphBuilder, x: Value, pooled: Value) -> Value:
    """Without the axis of windows, and with a batch as x has it. Shapes: [B, C, rows, columns, 1]."""
    return reshape(b, pooled, list(pooled.shape[1 if len(x.shape) == 3 else 0 : 4]))
