"""What the C library's allocator does with memory that is free again."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's parameters
_KEPT_BYTES = 1 << 30


def settle() -> None:
    """After a model was loaded: give back what the heap holds free, and from now on keep freed blocks for the next.

    Loading leaves holes between the tensors that stay. A prediction takes the same sizes again and again, and fresh
    pages for them would cost a tenth of its time. Where the C library is not glibc nothing happens.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            library.mallopt(parameter, _KEPT_BYTES)
