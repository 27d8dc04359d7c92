"""What the C library's allocator does with memory that is free again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's parameters
_TIGHT_BYTES = 1 << 18
_LOOSE_BYTES = 1 << 30


@contextmanager
def returned_at_once() -> Iterator[None]:
    """Inside, large blocks go back to the system when they are freed; afterwards they are kept for the next ones.

    While a model loads, short-lived tensors alternate with those that stay, and a heap that keeps what is free would
    end up half empty. A prediction takes the same sizes again and again, and fresh pages cost a tenth of its time.
    Where the C library is another one nothing happens.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is None:
        yield
        return
    for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        adjust(parameter, _TIGHT_BYTES)
    try:
        yield
    finally:
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            adjust(parameter, _LOOSE_BYTES)
