"""The executable reference: every primitive's meaning on plain float64, with every declared bound checked.

Nothing here is secret. Tests compare every protocol with this one, and a model owner can run a checkpoint through it
to learn, before anybody computes on shares, which layer would leave the fixed-point range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secure.protocols.core.errors import BoundError, ProtocolError
from secure.protocols.core.factor import IN_MEMORY, Keep
from secure.protocols.core.fixedpoint import FixedPointPolicy, decode
from secure.protocols.core.secret import P, Parameter, Primitive, Protocol, Reference, Secret, Visibility


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


class CleartextProtocol(Protocol, Reference):
    """Float64 arithmetic under the policy's bounds."""

    def __init__(self, policy: FixedPointPolicy, on_layer: Callable[[str], None] | None = None) -> None:
        super().__init__(policy, on_layer)
        self.largest: dict[str, float] = {}

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        return primitive.reference(self, x, *args, **kwargs)

    def value(self, x: Secret) -> Tensor:
        if not isinstance(x, ClearSecret):
            raise ProtocolError("a secret of another protocol was passed in")
        return x.value

    def bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        """The bound of `Reference`; the largest magnitude of each layer is noted, too."""
        limit = 2.0**self.policy.value_bits if limit is None else limit
        largest = float(x.abs().max()) if x.numel() else 0.0
        self.largest[self.layer_name] = max(largest, self.largest.get(self.layer_name, 0.0))
        if not largest < limit:
            self.refuse(
                f"{op} has magnitude {largest:.6g}, the declared bound is {limit:.6g}; use a policy with more value "
                "bits, or scale the model down"
            )
        return x

    def refuse(self, what: str) -> None:
        raise BoundError(f"layer {self.layer_name or '(none)'}: {what}")

    def secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        return ClearSecret(self, fraction_bits, value)

    def input(self, share: Tensor | None, shape: tuple[int, ...], fraction_bits: int, bits: int = 64) -> ClearSecret:
        if share is None or 0 in shape:
            raise ProtocolError(f"the cleartext protocol needs values, of shape {shape}")
        return self.secret(decode(share, fraction_bits), fraction_bits)

    def reveal(self, x: Secret, bits: int = 64) -> Tensor:
        return torch.round(self.value(x) * 2.0**x.fraction_bits).to(torch.int64)

    def prepare(
        self,
        parameter: Parameter,
        given: Tensor | None,
        visibility: Visibility = Visibility.PRIVATE,
        keep: Keep = IN_MEMORY,
    ) -> ClearSecret:
        return self.input(given, parameter.shape, parameter.fraction_bits)

    def bind(self, prepared: ClearSecret) -> ClearSecret:
        return self.secret(prepared.value, prepared.fraction_bits)
