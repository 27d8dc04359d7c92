"""What crosses the bus between the host and the card, counted at every copy that torch makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Crossing:
    """Bytes to and from the card by role. Counting slows a run down: do not time it."""

    def __init__(self) -> None:
        self.bytes: dict[str, dict[str, int]] = {}

    @contextmanager
    def counted(self, role: str) -> Iterator[None]:
        """A context for a role's thread."""
        with _Counter() as counter:
            yield
        self.bytes[role] = {"to_card": counter.to_card, "to_host": counter.to_host}


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.to_card = 0
        self.to_host = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        source = args[1] if func is torch.ops.aten.copy_.default else args[0] if args else None
        if isinstance(source, Tensor) and isinstance(result, Tensor):
            self._count(source.device.type, result)
        return result

    def _count(self, source: str, result: Tensor) -> None:
        """A result on another device than what it was made of has crossed."""
        ends = source, result.device.type
        if ends == ("cpu", "cuda"):
            self.to_card += result.numel() * result.element_size()
        elif ends == ("cuda", "cpu"):
            self.to_host += result.numel() * result.element_size()
