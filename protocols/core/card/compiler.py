"""Triton, the compiler of loops for graphics cards, and whether this machine has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch for CPUs comes without it
    HAS_TRITON = False
    Tensors: Any = object
else:
    HAS_TRITON = True
    Tensors = tl.tensor

BLOCK = 512
"""Elements that one program of a loop works on."""
# What loops take and give is written down in these words; Triton wants types of its own there.
Pointer = Number = Block = Tensors


def serve(device: torch.device) -> bool:
    """Whether the loops here compute on this device."""
    return HAS_TRITON and device.type == "cuda"


def loop(function: Callable[..., Any]) -> Any:
    """A loop, or a part of one, compiled at its first call for each kind of arguments, and kept on disk after that."""
    return triton.jit(function) if HAS_TRITON else function


def launch(kernel: Any, count: int, *arguments: Tensor | int, others: tuple[int, ...] = (), **constants: int) -> None:
    """Run a loop over `count` elements, which it is given last, and for each of `others` besides."""
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    size = constants.pop("block", BLOCK)
    with torch.cuda.device_of(first):  # of several cards, the one where the tensors are
        kernel[(-(-count // size), *others)](*arguments, count, **constants, block=size)


@loop
def places(count: Number, block: tl.constexpr) -> Any:
    """The elements of this program, and which of them there are."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    return i, i < count
