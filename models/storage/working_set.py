"""What a request takes in a role's memory, known from its shapes before anything is expanded, dealt or received.

The model's own program runs on tensors that have a shape and no numbers.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
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
from secure.protocols.core.errors import InputError
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import P, Primitive, Secret, row, table
from secure.protocols.families import family
from secure.protocols.masked.gates.exponential import exp2_negative
from secure.protocols.masked.gates.piecewise import piecewise

_SIZES_KEPT = 1024
_WORDS_COMPUTED = 40
"""Words that a role holds at a time for each element of the largest tensor that is computed: its share, its mask, what
was opened, and the digits, bits and corrections of the gate that takes it. Measured in processes, on functions of one
variable and on softmax: 17 and 14 at P0, 21 and 16 at P1, 32 and 15 at the dealer, 33 at one of three parties. Tests
hold measured peaks against estimates."""
_WORDS_SHARED = 6
"""Words of each element that the client shares or gets back: it is multiplied by a table, or sent, and no more."""
_WORDS_KEPT = 3
"""Words that stay for each element that a step leaves for the next: share, mask, and what was opened."""


class WorkingSets:
    """Estimates for the requests that one role is asked for.

    Running the program on shapes takes a few hundredths of a second for each layer, and a client waits for it. So that
    is done for rows of 1, 2, 4, 8, ... tokens alone, and once each; a request in between gets what lies between. Sizes
    are largest of sums of products of the rows' length, hence convex in it, and none is above the straight line.
    """

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str, bool, int], _Sizes] = {}

    def bytes(self, net: Network, request: Request) -> int:
        """What one role holds for the request at a time, at most, beside the model. `net` accepts it.

        The steps of a generation after the first one take one row each; what they keep grows with every one.
        """
        tokens, digest = request.tokens, net.manifest.digest
        upper = 1 << (tokens - 1).bit_length()
        ends = (upper // 2, upper) if upper != tokens and _takes(net, request, upper) else (tokens, tokens)
        low, high = (self._of_a_row(net, digest, request, end) for end in ends)
        part = 0.0 if low is high else (tokens - ends[0]) / (ends[1] - ends[0])
        kept = _between(low.kept, high.kept, part) * (tokens + request.steps - 1) / tokens
        computed, shared = _between(low.computed, high.computed, part), _between(low.shared, high.shared, part)
        words = request.batch * (_WORDS_COMPUTED * computed + _WORDS_SHARED * shared + _WORDS_KEPT * kept)
        sides = family(net.manifest.protocol).sides
        return sides * math.ceil(words) * ring.element_bytes(ring.WORD_BITS)

    def _of_a_row(self, net: Network, digest: str, request: Request, tokens: int) -> _Sizes:
        key = digest, request.output, request.masked, tokens
        if key not in self._sizes:
            if len(self._sizes) >= _SIZES_KEPT:
                self._sizes.clear()
            self._sizes[key] = _sizes(net, _row(request, tokens))
        return self._sizes[key]


@dataclass(frozen=True)
class _Sizes:
    """Elements of one row: of the largest tensor that is computed, of what is shared, and of what a step keeps."""

    computed: int
    shared: int
    kept: int


def _sizes(net: Network, request: Request) -> _Sizes:
    """What the program on shapes says of the first step."""
    sizing = _Sizing(net.manifest.policy)
    specs = net.input_specs(request, 0)
    inputs = {name: _shaped(sizing, spec.shape, spec.fraction_bits) for name, spec in specs.items()}
    with torch.inference_mode(), _ShapesAlone():
        outputs, state = net.forward(sizing, _Weights(sizing, net), request, inputs)
    shared = sum(math.prod(secret.shape) for secret in (*inputs.values(), *outputs.values()))
    return _Sizes(sizing.largest_elements, shared, _elements(state))


def _row(request: Request, tokens: int) -> Request:
    return replace(request, batch=1, tokens=tokens, steps=1, padding=())


def _takes(net: Network, request: Request, tokens: int) -> bool:
    """Whether the model takes rows of so many tokens."""
    try:
        net.validate(_row(request, tokens))
    except InputError:
        return False
    return True


def _between(low: int, high: int, part: float) -> float:
    return low + part * (high - low)


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

    Of these functions torch has rules of its own for tensors without numbers, whose first use imports its compiler and
    a system for computer algebra: seconds of work and tens of megabytes in a party's process.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Tensor, _as_shape, (args, kwargs or {}))
        if func in _PRODUCTS:
            left, right = args
            batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
            return left.new_empty((*batch, left.shape[-2], right.shape[-1]))
        if func in _BY_ELEMENT:
            tensors = [given for given in args if isinstance(given, Tensor)]
            return tensors[0].new_empty(np.broadcast_shapes(*(given.shape for given in tensors)))
        if func in _ALONG:
            return _along(*args, **kwargs)
        if func is torch.cat:
            return _joined(*args, **kwargs)
        if func is torch.Tensor.repeat:
            x, *times = args
            counts = times if isinstance(times[0], int) else times[0]
            sizes = (1,) * (len(counts) - x.dim()) + tuple(x.shape)
            return x.new_empty([size * count for size, count in zip(sizes, counts, strict=True)])
        if func is torch.Tensor.__getitem__:
            match args[1]:
                case Tensor() as index:
                    return args[0].new_empty((*index.shape, *args[0].shape[1:]))
                case builtins.Ellipsis, Tensor() as index:
                    return args[0].new_empty((*args[0].shape[:-1], *index.shape))
        return func(*args, **kwargs)


_PRODUCTS = frozenset({torch.Tensor.__matmul__, torch.Tensor.matmul, torch.matmul})
_BY_ELEMENT = frozenset(
    {
        torch.Tensor.add,
        torch.Tensor.sub,
        torch.Tensor.mul,
        torch.Tensor.neg,
        torch.Tensor.pow,
        torch.Tensor.__pow__,
        torch.Tensor.__rshift__,
        torch.Tensor.__lshift__,
        torch.Tensor.remainder,
        torch.Tensor.lt,
        torch.Tensor.gt,
        torch.Tensor.__and__,
        torch.Tensor.__or__,
        torch.Tensor.__ior__,
        torch.Tensor.tril,
        torch.Tensor.triu,
        torch.Tensor.roll,
        torch.add,
        torch.sub,
        torch.mul,
        torch.round,
        torch.ones_like,
        torch.zeros_like,
    }
)
"""The result has the shape that the tensors among the arguments are broadcast to."""


_ALONG = frozenset({torch.Tensor.sum, torch.Tensor.amax, torch.Tensor.amin, torch.Tensor.mean})
"""What is left along the axes that they are told is one number."""


def _along(x: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    axes = {axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim)}
    sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdim or axis not in axes]
    return x.new_empty(sizes)


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    sizes = list(parts[0].shape)
    sizes[dim] = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(sizes)


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
