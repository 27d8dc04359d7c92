"""The compiler of loops, and whether this machine has it."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

Loop = Callable[..., Any]

try:
    import llvmlite.binding as llvm
    import numba
    from numba.extending import register_jitable
except ImportError:  # missing, or not made for this numpy
    HAS_COMPILER = False
else:
    HAS_COMPILER = True

Array = NDArray[Any]
SPAN = 2048
"""Elements of a result that are worked on in one go: they stay in the first-level cache."""


def serve(device: torch.device) -> bool:
    """Whether the loops here compute on this device. Where they do not, the plain torch form of each does."""
    return HAS_COMPILER and device.type == "cpu"


def part(function: Loop) -> Loop:
    """What loops call. What was kept on disk does not notice a change of a part in another file: rename it then."""
    return register_jitable(function) if HAS_COMPILER else function


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
