"""The compiler of loops for the CPU, and how steps call what it made of them."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import torch
from numba.extending import register_jitable
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

Loop = Callable[..., Any]
Array = NDArray[Any]
Input = Tensor | Array | int | np.uint8

SPAN = 2048
"""Elements of a result that are worked on in one go: they stay in the first-level cache."""


def part(function: Loop) -> Loop:
    """What loops call. What was kept on disk does not notice a change of a part in another file: rename it then."""
    found: Loop = register_jitable(function)
    return found


@functools.cache
def compiled(function: Loop) -> Loop:
    """A loop compiled for this processor at its first call, and kept on disk after that."""
    if platform.machine() in ("x86_64", "AMD64"):
        # This processor's instructions only, chosen as for one with fast long vectors: by default the compiler halves
        # the vector length of AVX-512, and with it the speed here (measured: 2.6 against 6.6 multiplications per ns).
        features = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"
        vars(numba.config).update(CPU_NAME="sapphirerapids", CPU_FEATURES=features)
    found: Loop = numba.njit(nogil=True, cache=True)(function)
    return found


def array(x: Tensor) -> Array:
    """A tensor's memory as a loop reads it, in the order of its elements; copied where they lie in another order."""
    found: Array = x.contiguous().numpy()
    return found


def elements(x: Tensor) -> Array:
    """What `array` gives, without its shape. Shapes: any -> [numel]."""
    return array(x).reshape(-1)


def run(loop: Loop, *inputs: Input, into: tuple[Tensor | Array, ...]) -> None:
    """Run a loop over its inputs and what it writes to, which it takes last."""
    arguments = [array(x) if isinstance(x, Tensor) else x for x in inputs]
    arguments += [x.numpy() if isinstance(x, Tensor) else x for x in into]
    compiled(loop)(*arguments)


def computed(loop: Loop, *inputs: Input, shape: tuple[int, ...], dtype: DTypeLike = np.int64) -> Tensor:
    """What a loop writes to a result of this shape, element by element.

    numpy allocates it: unlike torch, it asks for huge pages where a result is large.
    """
    out: Array = np.empty(shape, dtype=dtype)
    compiled(loop)(*[array(x) if isinstance(x, Tensor) else x for x in inputs], out)
    return torch.from_numpy(out)
