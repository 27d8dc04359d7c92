"""ATen operators as operations of a graph: pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.graph.arithmetic import Maximum, Mean, Sum
from secure.models.graph.builder import GraphBuilder, Value
from secure.models.graph.lowering import multiply, number_times, pair, reshape
from secure.models.graph.lowering_views import mean
from secure.models.graph.windows import AdaptiveWindows, Windows, adaptive_places
from secure.protocols.core.errors import UnsupportedOperator
from secure.protocols.core.windows import Window


def _window(image: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, *, ceil_mode: bool) -> Window:
    """The windows of torch's pooling. With ceil_mode the last ones may leave the image, if they begin inside."""
    size = pair(kernel)
    window = Window(size, pair(stride) if stride else size, pair(padding), pair(dilation))
    if not ceil_mode:
        return window
    after = []
    for n, k, s, p, d in zip(image.shape[2:], size, window.stride, window.padding, window.dilation, strict=True):
        left = (n + 2 * p - d * (k - 1) - 1) % s
        begins_inside = n + 2 * p - d * (k - 1) - 1 - left + s < n + p
        after.append(s - left if left and begins_inside else 0)
    return Window(size, window.stride, window.padding, window.dilation, tuple(after))


def _windows(b: GraphBuilder, image: Value, window: Window, *, edge: bool) -> Value:
    """Shapes: [B, C, H, W] -> [B, C, rows, columns, kernel elements]."""
    fields = window.kernel, window.stride, window.padding, window.dilation, window.after
    return b.add(Windows(*fields, edge), image)


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
    window = _window(image, kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    if any((*window.padding, *window.after)) and window.dilation != (1, 1):
        raise UnsupportedOperator("max pooling with dilation and windows that leave the image")
    return _pooled(b, x, b.add(Maximum(), _windows(b, image, window, edge=True)))


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
    window = _window(image, kernel, stride, padding, 1, ceil_mode=ceil_mode)
    windows = _windows(b, image, window, edge=False)
    if divisor_override:
        return number_times(b, _pooled(b, x, b.add(Sum((4,)), windows)), 1 / divisor_override)
    counted = torch.ones(1, 1, *image.shape[2:], dtype=torch.float64)
    if count_include_pad:  # but what ceil_mode adds is not
        rows, columns = window.padding
        counted = torch.nn.functional.pad(counted, (columns, columns, rows, rows), value=1.0)
        window = Window(window.kernel, window.stride, (0, 0), window.dilation, window.after)
    return _averaged(b, x, windows, window.of(counted, edge=False).sum(-1)[0, 0])


def _averaged(b: GraphBuilder, x: Value, windows: Value, counts: Tensor) -> Value:
    """Means of windows, of which only as many elements count. Shapes: counts [rows, columns]."""
    mean, size = _pooled(b, x, b.add(Mean((4,)), windows)), windows.shape[-1]
    return mean if bool((counts == size).all()) else multiply(b, mean, size / counts)


def adaptive_average_pool(b: GraphBuilder, x: Value, output_size: Sequence[int]) -> Value:
    image = _image(b, x)
    sizes, (rows, columns) = _adaptive(image, output_size)
    if sizes == (1, 1):
        return mean(b, x, [-2, -1], keepdim=True)
    windows = b.add(AdaptiveWindows(sizes, edge=False), image)
    counts = torch.outer(*(torch.tensor(each, dtype=torch.float64) for each in (rows, columns)))
    return _averaged(b, x, windows, counts)


def adaptive_max_pool(b: GraphBuilder, x: Value, output_size: Sequence[int]) -> tuple[Value, None]:
    image = _image(b, x)
    sizes, _ = _adaptive(image, output_size)
    return _pooled(b, x, b.add(Maximum(), b.add(AdaptiveWindows(sizes, edge=True), image))), None


def _adaptive(image: Value, output_size: Sequence[int]) -> tuple[tuple[int, ...], list[list[int]]]:
    """Rows and columns of windows, and how many elements each of them has along its axis."""
    sizes = tuple(given or length for given, length in zip(output_size, image.shape[2:], strict=True))
    counts = [list(map(len, adaptive_places(n, count))) for n, count in zip(image.shape[2:], sizes, strict=True)]
    return sizes, counts


def _image(b: GraphBuilder, x: Value) -> Value:
    """With a batch."""
    return reshape(b, x, [1, *x.shape]) if len(x.shape) == 3 else x


def _pooled(b: GraphBuilder, x: Value, pooled: Value) -> Value:
    """Without the axis of windows, and with a batch as x has it. Shapes: [B, C, rows, columns, 1]."""
    return reshape(b, pooled, list(pooled.shape[1 if len(x.shape) == 3 else 0 : 4]))
