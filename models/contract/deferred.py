"""Tensors of a checkpoint that are computed when they are wanted, so that a checkpoint need not fit in memory.

How a checkpoint's tensors become a model's (transposed, joined, centred, scaled) is written once, in plain torch, by
each family. Run on deferred tensors, that code computes shapes only and notes what it would have done; `computed` does
it later, for one tensor at a time, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core.errors import ProtocolError


class DeferredTensor(Tensor):
    """A tensor on the meta device, and how to compute it.

    Functions of torch on it give deferred tensors, computed anew each time. What needs values (a comparison, a number
    from a tensor) is an error of torch's. A change in place (x *= y) changes this tensor and none that was made of it
    before; of a view it is an error, and so is assigning to elements.
    """

    _compute: Callable[[], Tensor]
    _view: bool

    @classmethod
    def of(
        cls, shape: tuple[int, ...], compute: Callable[[], Tensor], dtype: torch.dtype = torch.float64
    ) -> DeferredTensor:
        """A tensor of that shape and type."""
        return cls._wrap(torch.empty(shape, dtype=dtype, device="meta"), compute)

    @classmethod
    def _wrap(cls, meta: Tensor, compute: Callable[[], Tensor]) -> DeferredTensor:
        with torch._C.DisableTorchFunctionSubclass():
            deferred, view = meta.as_subclass(cls), meta._is_view()
        deferred._compute, deferred._view = compute, view
        return deferred

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")
        changed = args[0] if in_place else None
        if name == "__setitem__" or (in_place and (not isinstance(changed, DeferredTensor) or changed._view)):
            raise ProtocolError(f"{name} would change what others see of a deferred tensor; make a new one")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*_each(args, _shape_of), **_each(kwargs, _shape_of))
        # The arguments count as they are now: a later change in place is not for this result.
        recipes, named = _each(args, _recipe), _each(kwargs, _recipe)

        def compute() -> Any:
            return func(*_each(recipes, _follow), **_each(named, _follow))

        if isinstance(changed, DeferredTensor):
            changed._compute = compute
            return changed
        if isinstance(found, Tensor):
            return cls._wrap(found, compute)
        if isinstance(found, tuple | list) and found and all(isinstance(item, Tensor) for item in found):
            return type(found)(cls._wrap(item, _item(compute, i)) for i, item in enumerate(found))
        return found


def computed(x: Any) -> Any:
    """The values of a deferred tensor; anything else as it is."""
    return x._compute() if isinstance(x, DeferredTensor) else x


class _Recipe:
    """How to compute what was deferred."""

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self.compute = compute


def _recipe(x: Any) -> Any:
    return _Recipe(x._compute) if isinstance(x, DeferredTensor) else x


def _follow(x: Any) -> Any:
    return x.compute() if isinstance(x, _Recipe) else x


def _item(compute: Callable[[], Any], index: int) -> Callable[[], Tensor]:
    return lambda: compute()[index]


def _shape_of(x: Any) -> Any:
    """A deferred tensor without values, on the meta device; all else as it is."""
    if isinstance(x, DeferredTensor):
        return x.as_subclass(Tensor)
    return x.to("meta") if isinstance(x, Tensor) else x


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply to all that lists, tuples and dictionaries hold."""
    if isinstance(value, dict):
        return {key: _each(item, function) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_each(item, function) for item in value)
    return function(value)
