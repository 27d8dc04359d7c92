"""Triton, the compiler of loops for graphics cards, and whether it can be used on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    Pointer = Any
    Number = Any
    Block = Any
else:  # what loops take and give, in words that Triton accepts in their signatures
    Pointer = Number = Block = tl.tensor

BLOCK = 512
"""Elements that one program of a loop works on."""

_LOG = logging.getLogger("protocols")


def runs(device: torch.device) -> bool:
    """Whether a loop runs on a card, by trying: Triton wants a C compiler on the host, and a card of some age."""
    try:
        launch(_copied, 1, torch.ones(1, device=device), torch.empty(1, device=device))
    except Exception as error:  # of many kinds, and none is worth more than to do without
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        _LOG.warning("Triton cannot be used on %s, so torch computes, more slowly: %s", device, reason)
        return False
    return True


def loop(function: Callable[..., Any], *, any_value: tuple[str, ...] = ()) -> Any:
    """A loop, or a part of one, compiled at its first call for each kind of arguments, and kept on disk after that.

    any_value: arguments for which the number one and multiples of 16 are not kinds of their own.
    """
    return triton.jit(function, do_not_specialize=any_value)


def launch(
    kernel: Any,
    count: int,
    first: Tensor,
    /,
    *arguments: Tensor | int,
    others: tuple[int, ...] = (),
    block: int = BLOCK,
    **constants: int,
) -> None:
    """Run a loop over `count` elements, which it is given last, and for each of `others` besides.

    block: elements that one program works on. constants: what the loop is compiled for.
    """
    with torch.cuda.device_of(first):  # of several cards, the one where the tensors are
        start(kernel, (-(-count // block), *others), (first, *arguments, count), constants | {"block": block})


def start(kernel: Any, grid: tuple[int, ...], arguments: tuple[Tensor | int, ...], constants: dict[str, int]) -> None:
    """Start a loop's programs, as many as the grid has."""
    kernel[grid](*arguments, **constants)


@loop
def places(count: Number, block: tl.constexpr) -> Any:
    """The elements of this program, and which of them there are."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    return i, i < count


@loop
def _copied(x: Pointer, result: Pointer, count: Number, block: tl.constexpr) -> None:
    i, inside = places(count, block)
    tl.store(result + i, tl.load(x + i, mask=inside), mask=inside)
