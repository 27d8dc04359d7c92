"""Secret tensors, the primitives over them, and what an execution of a program is.

Model code is written once against secrets and primitives and runs in every execution: at a computing party a `Secret`
holds that party's share, at the dealer its shape and mask, in the cleartext protocol plain floats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor

from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import NEAR, Profile

P = ParamSpec("P")
Execution = TypeVar("Execution", contravariant=True)


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
        return add(self, other) if isinstance(other, Secret) else add_public(self, other)

    __radd__ = __add__

    def __sub__(self, other: Secret | float) -> Secret:
        return self + -other

    def __rsub__(self, other: float) -> Secret:
        return -self + other

    def __neg__(self) -> Secret:
        return self.map(lambda t: -t)

    def __mul__(self, other: Secret | float) -> Secret:
        return multiply(self, other) if isinstance(other, Secret) else scale(self, other)

    __rmul__ = __mul__

    def __matmul__(self, other: Secret) -> Secret:
        return matmul(self, other)

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
        return sum_along(self, dim, keepdim=keepdim)


@dataclass(frozen=True)
class SecretSpec:
    """Public facts of one input or output: its shape, scale and ring.

    one_hot: of an input that chooses rows of tables: lengths of the one-hot vectors along its last axis.
    """

    shape: tuple[int, ...]
    fraction_bits: int
    bits: int = 64
    one_hot: tuple[int, ...] = ()


class Visibility(StrEnum):
    """Who sees a model's weights: nobody, every computing party, or P1 alone, who is the model's owner."""

    PRIVATE = "private"
    PUBLIC = "public"
    SERVER = "server"


@dataclass(frozen=True)
class Parameter:
    """Public facts of one tensor of a model. opened: whether products take it, elementwise or as a matrix."""

    shape: tuple[int, ...]
    fraction_bits: int
    bits: int = 64
    opened: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether it is kept as a right factor of matrix products."""
        return self.opened and len(self.shape) == 2


class Protocol(ABC):
    """An execution of a program at one role: how primitives are computed, and the two ends of the program.

    Every primitive keeps the same order at every role. Values are bounded by the policy: |x| < 2^value_bits for what
    is compared, truncated or multiplied. Tensors at the ends are ring elements (int64), as clients and model owners
    make them.
    """

    def __init__(self, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None) -> None:
        self.policy = policy
        self.profile: Profile = NEAR
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

    def together(self, *branches: Callable[[], Secret]) -> tuple[Secret, ...]:
        """The results of branches that do not depend on each other, which share their rounds where there are any.

        A branch may use whatever was there before, and nothing of another one. It enters no layer.
        """
        return tuple(branch() for branch in branches)

    def meanwhile(self, layer: str, branch: Callable[[], object]) -> AbstractContextManager[None]:
        """Run a branch that nothing inside the block depends on, sharing rounds with it where there are any.

        Its costs go to `layer`, which it does not begin. When the block has ended, it has, too. Raises what it raises.
        """
        outer, self.layer_name = self.layer_name, layer
        try:
            branch()
        finally:
            self.layer_name = outer
        return nullcontext()

    @abstractmethod
    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        """The primitive's result. Programs call the primitive itself, which comes here."""

    @abstractmethod
    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> Secret:
        """A secret from what this role was given of it; the dealer is given None."""

    def confirm(self, held: Sequence[bytes | memoryview]) -> None:  # noqa: B027 - most families share no part twice
        """Compare with others what of a client's input they were given, too; `held` is as its family says.

        Raises InputError, here or at the latest in `reveal`, where the client gave them something else.
        """

    @abstractmethod
    def reveal(self, x: Secret, bits: int = 64) -> Tensor:
        """What this role sends to the client for x, who adds the parties' tensors mod 2^bits."""

    @abstractmethod
    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> Any:
        """Load a model's tensor, once per model, into what `bind`, `linear` and `multiply_weight` take.

        given: what this role has of it, or None: a share of a private one, a public one itself; of one that P1 alone
        sees the tensor at P1. keep: how a matrix is kept; it must own the tensors that it keeps.

        Raises ProtocolError where the family has no such weights.
        """

    @abstractmethod
    def bind(self, prepared: Any) -> Secret:
        """A prepared tensor, no matrix of a product, as a secret of this session."""

    def finish(self) -> None:  # noqa: B027 - likewise
        """The last act of a program. Raises ProtocolError when a peer sent more than the program used."""

    def end_step(self) -> None:  # noqa: B027 - most executions hold nothing back
        """A client will see what was revealed so far before it goes on: nothing may be held back."""


class Reference(ABC):
    """What a primitive's meaning is written over: plain numbers, under the policy's bounds."""

    policy: FixedPointPolicy

    @abstractmethod
    def value(self, x: Secret) -> Tensor:
        """The numbers of a secret. Raises ProtocolError for a secret of another protocol."""

    @abstractmethod
    def secret(self, value: Tensor, fraction_bits: int) -> Secret:
        """Numbers as a result."""

    @abstractmethod
    def bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        """x, if its magnitude is below the limit, or the policy's. Raises BoundError otherwise."""

    @abstractmethod
    def refuse(self, what: str) -> None:
        """Raises BoundError, which names the layer."""


class Primitive(Generic[P]):
    """One operation on secrets. It is declared by its meaning in plain numbers, which is the reference for tests.

    The signature is the reference's, without the first parameter. The docstring says what it computes and in which
    range. How an execution computes it is a row of that execution's table.
    """

    def __init__(self, reference: Callable[Concatenate[Reference, Secret, P], Secret]) -> None:
        self.reference = reference
        self.name = reference.__name__
        self.__doc__ = reference.__doc__

    def __repr__(self) -> str:
        return f"Primitive({self.name})"

    def __call__(self, x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        return x.protocol.apply(self, x, *args, **kwargs)


@dataclass(frozen=True)
class TableRow(Generic[Execution]):
    """How one kind of execution computes one primitive."""

    primitive: Primitive[Any]
    program: Callable[..., Secret]


def row(primitive: Primitive[P], program: Callable[Concatenate[Execution, Secret, P], Secret]) -> TableRow[Execution]:
    """A row of a table of operations; the program takes the execution, and then what the primitive takes."""
    return TableRow(primitive, program)


Table = Mapping[Primitive[Any], Callable[..., Secret]]
"""The programs of one execution, by primitive."""


def table(*rows: TableRow[Any]) -> Table:
    """The rows as a table. A later row for the same primitive takes the place of an earlier one."""
    return {each.primitive: each.program for each in rows}


# What operators stand for. The other primitives are in `primitives`, and with their gates.


@Primitive
def add(clear: Reference, x: Secret, y: Secret) -> Secret:
    """x + y, with broadcasting. Local."""
    return clear.secret(clear.value(x) + clear.value(y), max(x.fraction_bits, y.fraction_bits))


@Primitive
def add_public(clear: Reference, x: Secret, y: Tensor | float) -> Secret:
    """x + y, with broadcasting, for a public float tensor or number. Local."""
    return clear.secret(clear.value(x) + torch.as_tensor(y, dtype=torch.float64), x.fraction_bits)


@Primitive
def scale(clear: Reference, x: Secret, factor: float) -> Secret:
    """x * factor for a public factor, at x's scale. Local for integers, one truncation otherwise."""
    product = clear.value(x) * factor
    if factor != int(factor):  # that takes a truncation
        clear.bounded("scale", product)
    return clear.secret(product, x.fraction_bits)


@Primitive
def multiply(
    clear: Reference, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
) -> Secret:
    """Elementwise x * y, with broadcasting, truncated to `fraction_bits` (x's by default).

    value_bits: |x y| < 2^value_bits in place of the policy's; the scales of both may add up to 62 - value_bits. Where
    it is more than the policy's, factors may be as large, too, if they are held in rings with room for it.
    """
    product = clear.value(x) * clear.value(y)
    return bounded_product(clear, "multiply", x, y, product, fraction_bits, value_bits)


@Primitive
def matmul(clear: Reference, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
    """Matrix product with torch's batch broadcasting, truncated to `fraction_bits` (x's by default)."""
    return bounded_product(clear, "matmul", x, y, clear.value(x) @ clear.value(y), fraction_bits)


@Primitive
def sum_along(clear: Reference, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
    """Sum along one axis. Local. Raises ProtocolError where no ring holds the sum of so many values."""
    clear.policy.sum_bits(x.fraction_bits, x.shape[dim])  # which refuses what does not fit
    return clear.secret(clear.value(x).sum(dim, keepdim=keepdim), x.fraction_bits)


def bounded_product(
    clear: Reference,
    op: str,
    x: Secret,
    y: Secret,
    product: Tensor,
    fraction_bits: int | None,
    value_bits: int | None = None,
) -> Secret:
    """The result of a product whose factors and value are in the policy's range, or the value below 2^value_bits."""
    largest = clear.policy.value_bits if value_bits is None else value_bits
    for factor in (x, y):
        clear.bounded(op, clear.value(factor), 2.0 ** max(largest, clear.policy.value_bits))
    kept = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
    return clear.secret(clear.bounded(op, product, 2.0**largest), kept)
