"""This process's memory: what the system has free for it, and what the C library does with blocks that are free again.

Where the library is not glibc, its allocator is left as it is.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from secure.models.storage.capacity import available_bytes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # numbers of glibc's parameters
_KEPT_BYTES = 1 << 30
_LARGE_BYTES = 1 << 20
UPLOADS = Path("/proc/self/fd")
"""The folder of files that exist in this process's memory alone."""
FULL = "models stay in a party's memory until they are unloaded: unload() those that nobody needs, or restart the party"
"""What to do about memory that has no room for another model."""


def use_one_heap() -> None:
    """Call first in a process: every session computes in a thread of its own, and a heap for each would keep its own
    free blocks."""
    _adjust(_ARENA_MAX, 1)


@contextmanager
def loading() -> Iterator[None]:
    """While a model is loaded: give back large blocks that are freed. Afterwards keep them for the next.

    A freed block is rarely reused for an aligned one of the same size, so loading would leave as many holes in the heap
    as it loads tensors. A prediction takes the same sizes again and again, and fresh pages for them would cost a tenth
    of its time.
    """
    _set_kept(_LARGE_BYTES)
    try:
        yield
    finally:
        _set_kept(_KEPT_BYTES)


def free_bytes(limit_bytes: int | None, uploaded_bytes: int = 0) -> int | None:
    """What this process may still take: what is available, within a limit for all of it. None where nothing is known.

    uploaded_bytes: of a file that it holds in memory, which the limit counts too.
    """
    free = available_bytes()
    if limit_bytes is None:
        return free
    left = max(0, limit_bytes - resident_bytes() - uploaded_bytes)
    return left if free is None else min(free, left)


def free_card_bytes(device: torch.device, limit_bytes: int | None) -> int:
    """What this process may still take of a graphics card: what is free there, within a limit for all of it."""
    mine = torch.cuda.memory_allocated(device)
    # What torch has taken from the card and not given out is free, too.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - mine
    return free if limit_bytes is None else min(free, max(0, limit_bytes - mine))


def resident_bytes(system: Path = Path("/")) -> int:
    """What this process holds in memory now, programs and libraries included. 0 where the system does not tell."""
    try:
        lines = (system / "proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return 0


def scratch_folder() -> Path:
    """Where a disk is used in place of memory: TMPDIR, or the system's folder for large temporary files."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


def _set_kept(size_bytes: int) -> None:
    """Give back what is free now, and later on what is freed in larger blocks."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        _adjust(parameter, size_bytes)


def _adjust(parameter: int, value: int) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(parameter, value)
