"""What systems differ in: the one module that asks for what macOS or Windows lack, and says what happens there."""

from __future__ import annotations

import array
import mmap
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from secure.protocols.core.errors import CheckpointError

with suppress(ImportError):  # Windows has neither; a client needs none
    import fcntl
    import resource

_MODULES = globals()


def reserve(descriptor: int, size_bytes: int) -> None:
    """Give a file its length, and where the system can, its room on the disk. Raises OSError when there is none.

    Elsewhere, as on macOS, a disk that is full shows when it is written to.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        os.truncate(descriptor, size_bytes)


def pass_by_cache(descriptor: int) -> None:
    """Read and write a file past the system's cache. Where the system or the file system cannot, nothing."""
    if hasattr(os, "O_DIRECT") and "fcntl" in _MODULES:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)


def ask_for_large_pages(buffer: mmap.mmap) -> None:
    """Large pages are fewer to hold in place for the disk. Where the system has none, nothing."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            buffer.madvise(mmap.MADV_HUGEPAGE)


def file_in_memory() -> BinaryIO:
    """A file that never exists on a disk. Raises CheckpointError where the system has none, as macOS."""
    if not hasattr(os, "memfd_create"):
        raise CheckpointError(
            "this party's system has no files in memory, so it takes no uploads; split the model, and copy the party's "
            "share file and manifest.json to its [models] dir"
        )
    return os.fdopen(os.memfd_create("share"), "wb")


def dump_no_core() -> None:
    """Call before anything secret is in memory: a core dump would have all of it. Windows dumps none by default."""
    if "resource" in _MODULES:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def processor_seconds(process: int) -> float:
    """Processor time of a process so far, all threads, in steps of the system's clock; 0 where it does not tell."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # after the name, which may have spaces
    except OSError:
        return 0.0
    in_user, in_system = fields[11:13]
    return (int(in_user) + int(in_system)) / os.sysconf("SC_CLK_TCK")


def peak_memory_bytes(process: int | None = None) -> int:
    """Most memory that a process, by default this one, held so far; 0 where the system does not tell."""
    try:
        with open(f"/proc/{process or 'self'}/status", encoding="ascii") as file:
            peaks = [line.split()[1] for line in file if line.startswith("VmHWM:")]
        return int(peaks[0]) * 1024
    except (OSError, IndexError):
        if process is not None or "resource" not in _MODULES:
            return 0
        # Not on Linux: there this figure also counts what the parent held at the fork.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def tell_service_manager(message: str, descriptors: Sequence[int] = ()) -> bool:
    """Send lines of sd_notify(3), and open files to be held, to systemd or to a supervisor that speaks as it does.

    False where nobody listens: $NOTIFY_SOCKET is not set. Raises OSError where the one that should does not.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    # A leading @ stands for the zero byte of an abstract address.
    path = "\0" + address[1:] if address.startswith("@") else address
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(path)
        manager.sendmsg([message.encode()], rights)
    return True
