"""Blocks of a file, read ahead of their use into a fixed number of buffers.

The order of use is learnt: after a block comes the one that came after it the last time. A model's matrices are used in
the same order by every step of every session, so from the second step on, all reads but a session's first are ahead.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from secure.models.storage.block_file import new_buffer

_READERS = 2  # threads: while one waits for the disk, the other decrypts
_Reading = tuple[Future[None], mmap.mmap]


class ReadAhead:
    """Safe to use from several sessions' threads at a time; they share the buffers."""

    def __init__(self, read: Callable[[int, mmap.mmap], None], buffer_bytes: int, count: int) -> None:
        """read: fills a buffer with a block by its number, in another thread. count: of buffers, 2 or more."""
        self._read = read
        self._count = count
        self._free = [new_buffer(buffer_bytes) for _ in range(count)]
        self._coming: dict[int, _Reading] = {}
        self._after: dict[int, int] = {}
        self._last = threading.local()  # each session walks through the blocks by itself
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="read-ahead")

    @contextmanager
    def block(self, number: int) -> Iterator[mmap.mmap]:
        """The buffer with a block in it, for the time of the context. Raises what reading raises."""
        with self._changed:
            last, self._last.number = getattr(self._last, "number", None), number
            if last is not None:
                self._after[last] = number
            reading, buffer = self._coming.pop(number) if number in self._coming else self._surprise(number)
            self._go_on(number)
        try:
            reading.result()
            yield buffer
        finally:
            with self._changed:
                # Where reading was broken off by an exception from outside, the buffer may still be written to.
                wait([reading])
                self._free.append(buffer)
                self._go_on(number)
                self._changed.notify()

    def _surprise(self, number: int) -> _Reading:
        """Read a block that was not expected: before those that were, as far as they have not begun."""
        for other, (reading, buffer) in list(self._coming.items()):
            if reading.cancel():
                del self._coming[other]
                self._free.append(buffer)
        return self._begin(number)

    def _begin(self, number: int) -> _Reading:
        while not self._free:
            if self._coming:  # the oldest was read in vain
                reading, buffer = self._coming.pop(next(iter(self._coming)))
                wait([reading])
                self._free.append(buffer)
            else:  # other sessions have all buffers; they compute and will give them back
                self._changed.wait()
        buffer = self._free.pop()
        return self._pool.submit(self._read, number, buffer), buffer

    def _go_on(self, number: int) -> None:
        """Begin to read what comes after a block, as far as there are buffers."""
        for _ in range(self._count):
            following = self._after.get(number)
            if following is None or not self._free:
                return
            number = following
            if number not in self._coming:
                self._coming[number] = self._begin(number)
