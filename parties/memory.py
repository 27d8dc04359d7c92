"""What the C library's allocator does with memory that is free again. Where it is not glibc nothing happens."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # numbers of glibc's parameters
_KEPT_BYTES = 1 << 30


def use_one_heap() -> None:
    """Call first in a process: every session computes in a thread of its own, and a heap for each would keep its own
    free blocks."""
    _adjust(_ARENA_MAX, 1)


def settle() -> None:
    """After a model was loaded: give back what the heap holds free, and from now on keep freed blocks for the next.

    Loading leaves holes between the tensors that stay. A prediction takes the same sizes again and again, and fresh
    pages for them would cost a tenth of its time.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        _adjust(parameter, _KEPT_BYTES)


def _adjust(parameter: int, value: int) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(parameter, value)
