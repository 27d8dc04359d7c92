"""Compiled loops for the CPU: what torch does slowly on 64-bit integers.

torch has no fast path for products of int64 matrices (about one multiplication per nanosecond on one core); this loop
uses the widest integer multiplier that the processor has. `ring.matmul` is the only caller, torch.matmul the reference
that a test compares with bit for bit.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numpy.typing import NDArray

Matrices = NDArray[Any]
_COLUMNS = 512  # of the right factor at a time: eight rows of them stay in the first-level cache


def _multiply(a: Matrices, b: Matrices, c: Matrices) -> None:
    """c += a @ b for each matrix of a batch. Shapes: [G, m, k], [G or 1, k, n], [G, m, n]."""
    batch, rows, inner = a.shape
    columns = b.shape[2]
    for g in range(batch):
        h = g if b.shape[0] > 1 else 0
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            p = 0
            # Eight rows of b at a time: one load and one store of c for eight multiplications.
            while p + 8 <= inner:
                b0, b1 = b[h, p, start:stop], b[h, p + 1, start:stop]
                b2, b3 = b[h, p + 2, start:stop], b[h, p + 3, start:stop]
                b4, b5 = b[h, p + 4, start:stop], b[h, p + 5, start:stop]
                b6, b7 = b[h, p + 6, start:stop], b[h, p + 7, start:stop]
                for i in range(rows):
                    a0, a1, a2, a3 = a[g, i, p], a[g, i, p + 1], a[g, i, p + 2], a[g, i, p + 3]
                    a4, a5, a6, a7 = a[g, i, p + 4], a[g, i, p + 5], a[g, i, p + 6], a[g, i, p + 7]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        low = a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
                        out[j] += low + a4 * b4[j] + a5 * b5[j] + a6 * b6[j] + a7 * b7[j]
                p += 8
            while p < inner:
                b0 = b[h, p, start:stop]
                for i in range(rows):
                    a0 = a[g, i, p]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        out[j] += a0 * b0[j]
                p += 1


@functools.cache
def multiply() -> Callable[[Matrices, Matrices, Matrices], None]:
    """`_multiply`, compiled for this processor at the first call and kept on disk after that."""
    if platform.machine() in ("x86_64", "AMD64"):
        # This processor's instructions only, chosen as for one with fast long vectors: by default the compiler halves
        # the vector length of AVX-512, and with it the speed here (measured: 2.6 against 6.6 multiplications per ns).
        features = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"
        vars(numba.config).update(CPU_NAME="sapphirerapids", CPU_FEATURES=features)
    compiled: Callable[[Matrices, Matrices, Matrices], None] = numba.njit(nogil=True, cache=True)(_multiply)
    return compiled


def matmul(a: Matrices, b: Matrices) -> Matrices:
    """a @ b in the integers mod 2^64. Shapes: int64 [G, m, k], [G or 1, k, n] -> [G, m, n]."""
    c = np.zeros((a.shape[0], a.shape[1], b.shape[2]), dtype=a.dtype)
    multiply()(np.ascontiguousarray(a), np.ascontiguousarray(b), c)
    return c
