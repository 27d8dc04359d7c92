"""What a request takes in a role's memory, known from its shapes before anything is expanded, dealt or received.

The model's own program runs on tensors that have a shape and no numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from secure.models.contract.network import Network
from secure.models.contract.request import Request
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core import ring
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import P, Primitive, Secret, row, table
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import piecewise

_WORDS_COMPUTED = 28
"""Words that a role holds at a time for each element of the largest tensor that is computed: its share, its mask, what
was opened, and the digits, bits and corrections of the gate that takes it. Measured at 25 on functions of one variable,
at 11 on softmax; tests hold the measured peak against the estimate."""
_WORDS_SHARED = 6
"""Words of each element that the client shares or gets back: it is multiplied by a table, or sent, and no more."""
_WORDS_KEPT = 3
"""Words that stay for each element that a step leaves for the next: share, mask, and what was opened."""


def working_set_bytes(net: Network, request: Request) -> int:
    """An estimate of what one role holds for the request at a time, at most, beside the model. `net` accepts it.

    The steps of a generation after the first one take one row each; what they keep grows with every one.
    """
    sizing = _Sizing(net.manifest.policy)
    specs = net.input_specs(request, 0)
    inputs = {name: _shaped(sizing, spec.shape, spec.fraction_bits) for name, spec in specs.items()}
    with torch.inference_mode(), _ShapesAlone():
        outputs, state = net.forward(sizing, _Weights(sizing, net), request, inputs)
    shared = sum(math.prod(secret.shape) for secret in (*inputs.values(), *outputs.values()))
    kept = _elements(state) * (request.tokens + request.steps - 1) // request.tokens
    words = _WORDS_COMPUTED * sizing.largest_elements + _WORDS_SHARED * shared + _WORDS_KEPT * kept
    return words * ring.element_bytes(ring.WORD_BITS)


class _Sizing(CleartextProtocol):
    """Shapes alone. largest_elements: of the largest tensor that was computed."""

    largest_elements = 0

    def secret(self, value: Tensor, fraction_bits: int) -> ClearSecret:
        self.largest_elements = max(self.largest_elements, value.numel())
        return super().secret(value, fraction_bits)

    def bounded(self, op: str, x: Tensor, limit: float | None = None) -> Tensor:
        return x

    def bind(self, prepared: ClearSecret) -> ClearSecret:
        return prepared

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        program = _WITHOUT_NUMBERS.get(primitive)
        return super().apply(primitive, x, *args, **kwargs) if program is None else program(self, x, *args, **kwargs)


def _piecewise(sizing: _Sizing, x: Secret, function: Piecewise) -> Secret:
    return sizing.secret(sizing.value(x), function.output_bits)


def _exp2_negative(sizing: _Sizing, u: Secret) -> Secret:
    return sizing.secret(sizing.value(u), u.fraction_bits)


_WITHOUT_NUMBERS = table(row(piecewise, _piecewise), row(exp2_negative, _exp2_negative))
"""Primitives whose meaning looks at the numbers."""


class _ShapesAlone(TorchFunctionMode):
    """Public tensors, where they meet shapes, are shapes, too.

    Of products torch has a rule of its own, whose first use imports a system for computer algebra.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Tensor, _as_shape, (args, kwargs or {}))
        if func not in (torch.Tensor.__matmul__, torch.Tensor.matmul, torch.matmul):
            return func(*args, **kwargs)
        left, right = args
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        return left.new_empty((*batch, left.shape[-2], right.shape[-1]))


def _as_shape(public: Tensor) -> Tensor:
    return public if public.is_meta else public.new_empty(public.shape, device="meta")


class _Weights(Mapping[str, ClearSecret]):
    """A model's parameters as a session sees them."""

    def __init__(self, sizing: _Sizing, net: Network) -> None:
        self._sizing, self._specs = sizing, net.manifest.parameters

    def __getitem__(self, name: str) -> ClearSecret:
        spec = self._specs[name]
        return _shaped(self._sizing, spec.shape, spec.fraction_bits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def _shaped(sizing: _Sizing, shape: tuple[int, ...], fraction_bits: int) -> ClearSecret:
    return ClearSecret(sizing, fraction_bits, torch.empty(shape, device="meta"))


def _elements(state: Any) -> int:
    """Elements of all secrets in what a step keeps."""
    if isinstance(state, Secret):
        return math.prod(state.shape)
    if isinstance(state, Mapping):
        return sum(map(_elements, state.values()))
    if isinstance(state, Sequence) and not isinstance(state, str):
        return sum(map(_elements, state))
    return sum(map(_elements, vars(state).values())) if is_dataclass(state) else 0
