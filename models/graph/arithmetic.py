"""Sums, products and functions of one variable."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from secure.models.graph.operation import MOST_SUMMED, Operation, Shape, broadcast, check_dim, require
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.functions.elu import elu
from secure.protocols.functions.modules.division import divide
from secure.protocols.functions.modules.exponential import exponential
from secure.protocols.functions.modules.logarithm import log_softmax
from secure.protocols.functions.modules.softplus import softplus
from secure.protocols.functions.modules.unit_rows import unit_rows
from secure.protocols.functions.policy_functions import gelu, gelu_tanh, silu, softmax
from secure.protocols.functions.reciprocal_and_root import rsqrt
from secure.protocols.functions.relu import maximum, relu
from secure.protocols.functions.sigmoid import sigmoid
from secure.protocols.functions.tanh import tanh

FUNCTIONS: Mapping[str, Callable[[Secret], Secret]] = {
    "elu": elu,
    "exp": exponential,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "rsqrt": rsqrt,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "tanh": tanh,
}
_LEAST_NUMBER, _NUMBER_BOUND = 2.0**-24, 2.0**13
"""Magnitudes of numbers other than zero: beyond, products with them overflow, or nothing is left of them."""


def _check_number(number: float) -> None:
    fits = number == 0 or _LEAST_NUMBER <= abs(number) < _NUMBER_BOUND
    require(fits, f"a number of {number:g} in the graph; magnitudes of 2^-24 to 2^13 are served")


@dataclass(frozen=True)
class OfTwo(Operation):
    """A function of two values, elementwise, with broadcasting. compute: on secrets of any shapes that go together."""

    values = 2
    compute: ClassVar[Callable[..., Secret]]

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return broadcast(values, type(self).__name__.lower())

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return type(self).compute(values[0], values[1])


@dataclass(frozen=True)
class Add(OfTwo):
    """x + y."""

    compute = staticmethod(operator.add)


@dataclass(frozen=True)
class Subtract(OfTwo):
    """x - y."""

    compute = staticmethod(operator.sub)


@dataclass(frozen=True)
class Multiply(OfTwo):
    """x * y."""

    compute = staticmethod(operator.mul)


@dataclass(frozen=True)
class Divide(OfTwo):
    """x / y, for divisors of 2^-6 to 2^13 in magnitude."""

    compute = staticmethod(divide)


@dataclass(frozen=True)
class Larger(OfTwo):
    """The larger of two."""

    compute = staticmethod(maximum)


@dataclass(frozen=True)
class Matmul(Operation):
    """x @ y, with broadcasting of all but the last two axes. Shapes: [..., M, K], [..., K, N] -> [..., M, N]."""

    values = 2

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        x, y = values
        fits = len(x) >= 2 and len(y) >= 2 and x[-1] == y[-2]
        require(fits, f"matmul: shapes {list(x)} and {list(y)} do not go together")
        return (*broadcast([x[:-2], y[:-2]], "matmul"), x[-2], y[-1])

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0] @ values[1]


@dataclass(frozen=True)
class AddNumber(Operation):
    """x + number; the number is public."""

    number: float

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        _check_number(self.number)
        return values[0]

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0] + self.number


@dataclass(frozen=True)
class MultiplyNumber(Operation):
    """x * number; the number is public."""

    number: float

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        _check_number(self.number)
        return values[0]

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return values[0] * self.number


@dataclass(frozen=True)
class Sum(Operation):
    """Sum along some axes, which are kept with length one."""

    dims: Shape

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(set(self.dims)) == len(self.dims) > 0, "sum: each axis is named once, and one at least")
        terms = math.prod(x[check_dim(dim, x, "sum")] for dim in self.dims)
        require(terms <= MOST_SUMMED, f"sum: {terms} terms; at most {MOST_SUMMED} are served")
        return tuple(1 if dim in self.dims else n for dim, n in enumerate(x))

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        (x,) = values
        for dim in self.dims:
            x = x.sum(dim, keepdim=True)
        return x


@dataclass(frozen=True)
class Mean(Sum):
    """Mean along some axes, which are kept with length one. The sum on the way may leave the range of numbers."""

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        count = math.prod(values[0].shape[dim] for dim in self.dims)
        return super().run(protocol, values, parameters) * (1 / count)


@dataclass(frozen=True)
class Maximum(Operation):
    """The largest element along the last axis, which is kept with length one."""

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        (x,) = values
        require(len(x) > 0, "maximum: the last axis of a single number")
        return (*x[:-1], 1)

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return maximum_along(values[0])


@dataclass(frozen=True)
class AtLeast(Operation):
    """The larger of x and a public number."""

    number: float

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        _check_number(self.number)
        return values[0]

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return maximum(values[0], self.number)


@dataclass(frozen=True)
class Softmax(Operation):
    """Softmax along the last axis. base_two: of scores that were multiplied by log2(e) already."""

    base_two: bool

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return _check_row(values[0], "softmax")

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return softmax(values[0], base_two=self.base_two)


@dataclass(frozen=True)
class LogSoftmax(Operation):
    """Logarithm of softmax along the last axis."""

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return _check_row(values[0], "log_softmax")

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return log_softmax(values[0])


@dataclass(frozen=True)
class UnitRows(Operation):
    """Rows along the last axis divided by their Euclidean norm."""

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        return _check_row(values[0], "normalise")

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        return unit_rows(values[0])


def _check_row(x: Shape, what: str) -> Shape:
    require(len(x) > 0 and x[-1] <= MOST_SUMMED, f"{what}: at most {MOST_SUMMED} elements are served")
    return x


@dataclass(frozen=True)
class Function(Operation):
    """A function of one variable, elementwise, by its name in `FUNCTIONS`."""

    name: str

    def shape(self, values: Sequence[Shape], parameters: Sequence[Shape]) -> Shape:
        require(self.name in FUNCTIONS, f"no function is called {self.name[:40]!r}; known: {', '.join(FUNCTIONS)}")
        return values[0]

    def run(self, protocol: Protocol, values: Sequence[Secret], parameters: Sequence[Any]) -> Secret:
        result = FUNCTIONS[self.name](values[0])
        # Some give a fraction bit more. Opening it here serves the next product, which would have to open it itself.
        scale = protocol.policy.fraction_bits
        return result if result.fraction_bits == scale else truncate(result, scale)
