"""What takes parameters of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secure.models.graph.operation import MOST_SUMMED, Operation, Shape, check_size, require
from secure.protocols.core.primitives import convolve, linear
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.core.windows import Window
from secure.protocols.functions.layernorm import full_range_layer_norm, full_range_rms_norm


def _check_dense(what: str, inner: int, weight: Shape, bias: Shape) -> int:
    """Number of columns of the matrix."""
    fits = len(weight) == 2 and weight[0] == inner and bias == weight[1:]
    require(fits, f"{what}: {inner} elements do not go with matrix {list(weight)} and bias {list(bias)}")
    return weight[1]


@dataclass(frozen=True)
class LinearLayer(Operation):
    """x @ weight + bias. Shapes: [..., K], [K, N], [N] -> [..., N]."""

    kinds = ("factor", "offset")

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) >= 2, f"linear: rows of shape {list(x)}; two axes at least")
        return (*x[:-1], _check_dense("linear", x[-1], *parameters))

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        weight, bias = parameters
        return linear(values[0], weight, bias)


@dataclass(frozen=True)
class Convolution(Operation):
    """Convolution of images: their windows as rows, times a matrix of all kernels.

    Shapes: [B, C, H, W], [C kernel elements, N], [N] -> [B, N, rows, columns]. private: whether the matrix is.
    """

    kinds = ("factor", "offset")
    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    private: bool

    def _window(self) -> Window:
        return Window(self.kernel, self.stride, self.padding, self.dilation)

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) == 4, f"convolution: an image is [B, C, H, W], not {list(x)}")
        rows, columns = self._window().shape(x, "convolution")
        inner = x[1] * math.prod(self.kernel)
        check_size((x[0], rows, columns, inner), "convolution: its windows")
        return (x[0], _check_dense("convolution", inner, *parameters), rows, columns)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        weight, bias = parameters
        return convolve(values[0], weight, bias, self._window())


@dataclass(frozen=True)
class LayerNorm(Operation):
    """Layer norm over the last axis. Shapes: [..., N], [N], [N] -> [..., N]."""

    kinds = ("gain", "offset")
    epsilon: float

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        fits = len(x) > 0 and all(parameter == x[-1:] for parameter in parameters)
        require(fits, f"layer norm: shape {list(x)} and parameters {[list(p) for p in parameters]}")
        require(x[-1] <= MOST_SUMMED, f"layer norm: {x[-1]} elements; at most {MOST_SUMMED} are served")
        require(0 <= self.epsilon <= 1, f"layer norm: epsilon is {self.epsilon:g}")
        return x

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        gain, offset = (protocol.bind(parameter) for parameter in parameters)
        return full_range_layer_norm(values[0], gain, offset, self.epsilon)


@dataclass(frozen=True)
class RootMeanSquareNorm(Operation):
    """RMSNorm over the last axis. Shapes: [..., N], [N] -> [..., N]."""

    kinds = ("gain",)
    epsilon: float

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) > 0 and parameters[0] == x[-1:], f"RMSNorm: shape {list(x)} and gain {list(parameters[0])}")
        require(x[-1] <= MOST_SUMMED, f"RMSNorm: {x[-1]} elements; at most {MOST_SUMMED} are served")
        require(0 <= self.epsilon <= 1, f"RMSNorm: epsilon is {self.epsilon:g}")
        return x

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return full_range_rms_norm(values[0], protocol.bind(parameters[0]), self.epsilon)


@dataclass(frozen=True)
class Gain(Operation):
    """A parameter as a factor of elementwise and other products. It is stored flat: a matrix is for `LinearLayer`."""

    values = 0
    kinds = ("gain",)
    to: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return _check_flat(self.to, parameters)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return protocol.bind(parameters[0]).reshape(*self.to)


@dataclass(frozen=True)
class Offset(Operation):
    """A parameter that is added. It is stored flat."""

    values = 0
    kinds = ("offset",)
    to: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return _check_flat(self.to, parameters)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return protocol.bind(parameters[0]).reshape(*self.to)


def _check_flat(to: Shape, parameters: Sequence[Shape]) -> Shape:
    shape = check_size(to, "parameter")
    require(parameters[0] == (math.prod(shape),), f"parameter: {list(parameters[0])} as {list(shape)}")
    return shape
