"""The executable reference: the same primitives on plain float64, with every declared bound checked.

Nothing here is secret. Tests compare every protocol with this one, and a model owner can run a checkpoint through it
to learn, before anybody computes on shares, which layer would leave the fixed-point range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import BoundError, ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy, decode
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import Protocol, Secret

_EXPONENT_LOWEST, _EXPONENT_RANGE = -0.25, 15.5


class ClearSecret(Secret):
    """A plain float64 tensor in a secret's clothes. `fraction_bits` is kept so that programs see the same scales."""

    def __init__(self, protocol: Protocol, fraction_bits: int, value: Tensor) -> None:
        super().__init__(protocol, fraction_bits)
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def map(self, function: Callable[[Tensor], Tensor], fraction_bits: int | None = None) -> ClearSecret:
        scale = self.fraction_bits if fraction_bits is None else fraction_bits
        return ClearSecret(self.protocol, scale, function(self.value))


class CleartextProtocol(Protocol):
    """Float64 arithmetic under the policy's bounds."""

    def __init__(self, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None) -> None:
        super().__init__(policy, on_layer)
        self.largest: dict[str, float] = {}

    def _value(self, x: Secret) -> Tensor:
        if not isinstance(x, ClearSecret):
            raise ProtocolError("a secret of another protocol was passed in")
        return x.value

    def _bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        """x, if |x| is below the policy's bound; notes the largest magnitude per layer."""
        limit = 2.0**self.policy.value_bits if limit is None else limit
        largest = float(x.abs().max()) if x.numel() else 0.0
        self.largest[self.layer_name] = max(largest, self.largest.get(self.layer_name, 0.0))
        if not largest < limit:
            raise BoundError(
                f"layer {self.layer_name or '(none)'}: {op} has magnitude {largest:.6g}, the declared bound is "
                f"{limit:.6g}; use a policy with more value bits, or scale the model down"
            )
        return x

    def _secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        return ClearSecret(self, fraction_bits, value)

    def add(self, x: Secret, y: Secret | Tensor | float) -> Secret:
        if isinstance(y, Secret):
            return self._secret(self._value(x) + self._value(y), max(x.fraction_bits, y.fraction_bits))
        return self._secret(self._value(x) + torch.as_tensor(y, dtype=torch.float64), x.fraction_bits)

    def scale(self, x: Secret, factor: float) -> Secret:
        product = self._value(x) * factor
        if factor != int(factor):  # that takes a truncation
            self._bounded("scale", product)
        return self._secret(product, x.fraction_bits)

    def halve(self, x: Secret, times: int) -> Secret:
        return self._secret(self._value(x) * 2.0**-times, x.fraction_bits + times)

    def multiply_public(self, x: Secret, factor: Tensor) -> Secret:
        product = self._value(x) * factor.to(torch.float64)
        return self._secret(self._bounded("multiply_public", product), x.fraction_bits + self.policy.fraction_bits)

    def sum(self, x: Secret, dim: int, *, keepdim: bool = False) -> Secret:
        self.policy.sum_bits(x.fraction_bits, x.shape[dim])  # which refuses what does not fit
        return self._secret(self._value(x).sum(dim, keepdim=keepdim), x.fraction_bits)

    def truncate(self, x: Secret, fraction_bits: int) -> Secret:
        return self._secret(self._bounded("truncate", self._value(x)), fraction_bits)

    def multiply(
        self, x: Secret, y: Secret, *, fraction_bits: int | None = None, value_bits: int | None = None
    ) -> Secret:
        product = self._value(x) * self._value(y)
        if value_bits is not None:
            self._bounded("multiply", product, 2.0**value_bits)
        return self._product("multiply", x, y, product, fraction_bits)

    def matmul(self, x: Secret, y: Secret, *, fraction_bits: int | None = None) -> Secret:
        return self._product("matmul", x, y, self._value(x) @ self._value(y), fraction_bits)

    def multiply_weight(self, x: Secret, weight: Secret) -> Secret:
        product = self._value(x) * self._value(weight)
        return self._product("multiply_weight", x, weight, product, x.fraction_bits + weight.fraction_bits)

    def linear(
        self,
        x: Secret,
        weight: Secret,
        bias: Secret | None,
        *,
        residual: Secret | None = None,
        truncated: bool = True,
        wide: bool = False,
    ) -> Secret:
        product = self._value(x) @ self._value(weight)
        if residual is not None:
            product = product + self._bounded("linear", self._value(residual))
        scale = self.policy.fraction_bits if truncated else x.fraction_bits + weight.fraction_bits
        return self._product("linear", x, weight, product if bias is None else product + self._value(bias), scale)

    def _product(self, op: str, x: Secret, y: Secret, product: Tensor, fraction_bits: int | None) -> ClearSecret:
        for factor in (x, y):
            self._bounded(op, self._value(factor))
        scale = max(x.fraction_bits, y.fraction_bits) if fraction_bits is None else fraction_bits
        return self._secret(self._bounded(op, product), scale)

    def multiply_three(self, x: Secret, y: Secret, z: Secret) -> Secret:
        product = self._value(x) * self._value(y) * self._value(z)
        return self._secret(self._bounded("multiply_three", product, 2.0**12), x.fraction_bits)

    def square_sum(self, x: Secret) -> Secret:
        total = (self._value(x) ** 2).sum(-1, keepdim=True)
        limit = 2.0 ** (62 - 2 * x.fraction_bits)
        return self._secret(self._bounded("square_sum", total, limit), 2 * x.fraction_bits)

    def piecewise(self, x: Secret, function: Piecewise) -> Secret:
        function.check_scale(x.fraction_bits)
        value = self._value(x)
        low, high = function.domain
        if value.numel() and not (float(value.min()) >= low and float(value.max()) <= high):
            raise BoundError(
                f"layer {self.layer_name or '(none)'}: {function.name} takes {low:g} to {high:g}, "
                f"got {float(value.min()):g} to {float(value.max()):g}"
            )
        return self._secret(function.reference(value), function.output_bits)

    def largest_of_few(self, x: Secret) -> Secret:
        value = self._value(x)
        if value.numel():
            self._bounded("largest_of_few", value.amax(-1) - value.amin(-1), 2.0**13)
        return self._secret(value.amax(-1, keepdim=True), x.fraction_bits)

    def exp2_negative(self, u: Secret) -> Secret:
        value = self._bounded("exp2_negative", self._value(u), 2.0 ** (self.policy.value_bits + 1) - 1)
        if value.numel() and float(value.min()) < _EXPONENT_LOWEST:
            raise BoundError(f"layer {self.layer_name or '(none)'}: exp2_negative takes u >= {_EXPONENT_LOWEST:g}")
        return self._secret(torch.where(value < _EXPONENT_RANGE, 2.0**-value, 0.0), u.fraction_bits)

    def decompose(self, x: Secret, count: int) -> Secret:
        number = torch.round(self._bounded("decompose", self._value(x)) * 2.0**x.fraction_bits).to(torch.int64)
        return self._secret(ring.to_bits(number, count).to(torch.float64), 0)

    def compose(self, bits: Secret, fraction_bits: int) -> Secret:
        number = ring.from_bits(self._value(bits).to(torch.int64)).to(torch.float64)
        return self._secret(self._bounded("compose", number / 2.0**fraction_bits), fraction_bits)

    def concatenate(self, parts: Sequence[Secret], dim: int) -> Secret:
        values = torch.cat([self._value(part) for part in parts], dim)
        return self._secret(values, max(part.fraction_bits for part in parts))

    def as_factor(self, x: Secret) -> Secret:
        return x

    def append(self, kept: Secret | None, rows: Secret, dim: int) -> Secret:
        return rows if kept is None else self.concatenate([kept, rows], dim)

    def end_step(self) -> None:
        pass  # nothing is sent

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> ClearSecret:
        if share is None or 0 in shape:
            raise ProtocolError(f"the cleartext protocol needs values, of shape {shape}")
        return self._secret(decode(share, fraction_bits), fraction_bits)

    def reveal(self, x: Secret, bits: int = 64) -> Tensor:
        return torch.round(self._value(x) * 2.0**x.fraction_bits).to(torch.int64)

    def prepare(
        self,
        share: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> ClearSecret:
        return self.input(share, shape, fraction_bits, bits)

    def prepare_server(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        bits: int = 64,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> ClearSecret:
        return self.input(values, shape, fraction_bits, bits)

    def prepare_public(
        self,
        values: Tensor | None,
        shape: tuple[int, ...],
        fraction_bits: int,
        *,
        opened: bool,
        keep: Keep = IN_MEMORY,
    ) -> ClearSecret:
        return self.input(values, shape, fraction_bits)

    def bind(self, weight: ClearSecret) -> ClearSecret:
        return self._secret(weight.value, weight.fraction_bits)

    def factor(self, weight: ClearSecret) -> ClearSecret:
        return self.bind(weight)
