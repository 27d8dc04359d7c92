"""Secret tensors, and the interface that every protocol offers to functions and models.

Model code is written once against these two classes and runs in every execution: at a computing party a `Secret` holds
that party's share, at the dealer its shape and mask, in the cleartext protocol plain floats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.piecewise import Piecewise


class Secret(ABC):
    """A tensor whose value no single machine holds. Immutable; operators return new ones.

    `fraction_bits` is the fixed-point scale: the real value is (ring element) / 2^fraction_bits.
    """

    def __init__(self, protocol: Protocol, fraction_bits: int) -> None:
        self.protocol = protocol
        self.fraction_bits = fraction_bits

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, which is public."""

    @abstractmethod
    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> Secret:
        """Apply a linear map with small integer coefficients (a view, a sign) to everything held inside."""

    def __add__(self, other: Secret | Tensor | float) -> Secret:
        return self.protocol.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Secret | float) -> Secret:
        return self.protocol.add(self, -other)

    def __rsub__(self, other: float) -> Secret:
        return self.protocol.add(-self, other)

    def __neg__(self) -> Secret:
        return self.map(lambda t: -t)

    def __mul__(self, other: Secret | float) -> Secret:
        return self.protocol.multiply(self, other) if isinstance(other, Secret) else self.protocol.scale(self, other)

    __rmul__ = __mul__

    def __matmul__(self, other: Secret) -> Secret:
        return self.protocol.matmul(self, other)

    def __getitem__(self, index: Any) -> Secret:
        return self.map(lambda t: t[index])

    def reshape(self, *shape: int) -> Secret:
        """Same elements in another shape."""
        return self.map(lambda t: t.reshape(shape))

    def transpose(self, first: int, second: int) -> Secret:
        """Two axes swapped."""
        return self.map(lambda t: t.transpose(first, second))

    def unsqueeze(self, dim: int) -> Secret:
        """An axis of length one inserted."""
        return self.map(lambda t: t.unsqueeze(dim))

    def squeeze(self, dim: int) -> Secret:
        """An axis of length one removed."""
        return self.map(lambda t: t.squeeze(dim))

    def expand(self, *shape: int) -> Secret:
        """Axes of length one repeated."""
        return self.map(lambda t: t.expand(shape))

    def sum(self, dim: int, *, keepdim: bool = False) -> Secret:
        """Sum along one axis."""
        return self.protocol.sum(self, dim, keepdim=keepdim)


@dataclass(frozen=True)
class TensorSpec:
    """Public facts of one input or output: its shape, scale and ring."""

    shape: tuple[int, ...]
    fraction_bits: int
    bits: int = 64


class Protocol(ABC):
    """The primitives. Every op keeps the same order at every party; each docstring of a family states cost and leakage.

    Values are bounded by the policy: |x| < 2^value_bits for what is compared, truncated or multiplied.
    """

    def __init__(self, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None) -> None:
        self.policy = policy
        self.layer_name = ""
        self._on_layer = on_layer

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Attribute costs and errors inside the block to a layer of the model."""
        outer = self.layer_name
        self.layer_name = f"{outer}.{name}" if outer else name
        if self._on_layer is not None:
            self._on_layer(self.layer_name)
        try:
            yield
        finally:
            self.layer_name = outer

    @abstractmethod
    def add(self, x: Secret, y: Secret | Tensor | float) -> Secret:
        """x + y, with broadcasting; y is secret, a public float tensor or a public number. Local."""

    @abstractmethod
    def scale(self, x: Secret, factor: float) -> Secret:
        """x * factor for a public factor, at x's scale. Local for integers, one truncation otherwise."""

    @abstractmethod
    def halve(self, x: Secret, times: int) -> Secret:
        """x / 2^times, exactly: the same ring elements, with as many more fraction bits. Local if x's ring has room."""

    @abstractmethod
    def multiply_public(self, x: Secret, factor: Tensor) -> Secret:
        """Elementwise x * factor for a public float tensor, with broadcasting; not truncated. No round.

        The factor is rounded to the policy's fraction bits, which add to x's.
        """

    @abstractmethod
    def sum(self, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
        """Sum along one axis. Local. Raises ProtocolError where no ring holds the sum of so many values."""

    @abstractmethod
    def truncate(self, x: Secret, fraction_bits: int) -> Secret:
        """x at a smaller scale."""

    @abstractmethod
    def multiply(
        self, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
    ) -> Secret:
        """Elementwise x * y, with broadcasting, truncated to `fraction_bits` (x's by default).

        value_bits: where |x y| < 2^value_bits is known, and less than the policy's, the scales of both may add up to
        62 - value_bits.
        """

    @abstractmethod
    def multiply_weight(self, x: Secret, weight: Any) -> Secret:
        """Elementwise x * weight, as `factor` returns it, with broadcasting; not truncated, as a share to be added."""

    @abstractmethod
    def multiply_three(self, x: Secret, y: Secret, z: Secret) -> Secret:
        """Elementwise x * y * z with one truncation, back to x's scale. Broadcasting."""

    @abstractmethod
    def square_sum(self, x: Secret) -> Secret:
        """Sum of x^2 along the last axis (kept, length one), not truncated: twice the fraction bits."""

    @abstractmethod
    def matmul(self, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
        """Matrix product with torch's batch broadcasting, truncated to `fraction_bits` (x's by default)."""

    @abstractmethod
    def linear(
        self,
        x: Secret,
        weight: Any,
        bias: Any,
        *,
        residual: Secret | None = None,
        truncated: bool = True,
        wide: bool = False,
    ) -> Secret:
        """x @ weight + bias, both as `factor` returns them; the bias may be None.

        residual: added before the truncation; of the result's shape, with no more fraction bits than the product has.
        truncated: to the policy's fraction bits; an output for the client needs no truncation, hence no round.
        wide: the result goes on into products or functions, and is put in a form in which they take it as it is.
        """

    @abstractmethod
    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        """A function of one variable, elementwise."""

    @abstractmethod
    def largest_of_few(self, x: Secret) -> Secret:
        """The largest of two to four numbers along the last axis (kept, length one), which differ by less than 2^13."""

    @abstractmethod
    def exp2_negative(self, u: Secret) -> Secret:
        """2^(-u) elementwise for -1/4 <= u < 2^14 - 1; zero from u = 15.5 on, and zero or not from u = 15.25 on."""

    @abstractmethod
    def decompose(self, x: Secret, count: int) -> Secret:
        """The `count` lowest bits of x in two's complement, each 0 or 1 with no fraction bits, on a new last axis."""

    @abstractmethod
    def compose(self, bits: Secret, fraction_bits: int) -> Secret:
        """The number whose bits lie along the last axis, lowest first, in two's complement. Local."""

    @abstractmethod
    def concatenate(self, parts: Sequence[Secret], dim: int) -> Secret:
        """Secrets joined along an axis. Local."""

    @abstractmethod
    def as_factor(self, x: Secret) -> Secret:
        """x in the form that products take, made once: what else uses that form costs no opening of its own."""

    @abstractmethod
    def append(self, kept: Secret | None, rows: Secret, dim: int) -> Secret:
        """What earlier calls kept, and new rows behind it along an axis: a factor of products again and again.

        The rows are put in the form that products take, once; what was kept is not touched. Costs depend on `rows`.
        """

    @abstractmethod
    def end_step(self) -> None:
        """A client will see what was revealed so far before it goes on: nothing may be held back."""

    # The ends of a program. Tensors here are ring elements (int64) as clients and model owners make them.

    @abstractmethod
    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> Secret:
        """A secret from what this role was given of it; the dealer is given None."""

    @abstractmethod
    def reveal(self, x: Secret, bits: int = 64) -> Tensor:
        """What this role sends to the client for x, who adds the parties' tensors mod 2^bits."""

    @abstractmethod
    def prepare(
        self,
        share: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Any:
        """Load a model's private tensor, once per model; `opened` for factors of products.

        keep: how a matrix is kept; it must own the tensors that it keeps.
        """

    @abstractmethod
    def prepare_server(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Any:
        """Load a tensor that P1, the model's owner, holds in the clear; every other role passes None."""

    @abstractmethod
    def prepare_public(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> Any:
        """Load a model's public tensor, once per model; `opened` and `keep` as for `prepare`."""

    @abstractmethod
    def bind(self, weight: Any) -> Secret:
        """A prepared private or public tensor, no matrix of a product, as a secret of this session."""

    @abstractmethod
    def factor(self, weight: Any) -> Any:
        """A prepared matrix or bias in the form that `linear` takes."""
