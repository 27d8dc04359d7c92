"""Reads a stream ahead of its consumer, with bounded memory: p1's side of the dealer's stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from parties.frames import AnyFrame, DataFrame


class Prefetch(Iterator[AnyFrame]):
    """Reads `frames` ahead in a thread, until `limit_bytes` of chunks or more are held."""

    def __init__(self, frames: Iterator[AnyFrame], limit_bytes: int) -> None:
        self._frames = frames
        self._limit_bytes = limit_bytes
        self._ready: queue.SimpleQueue[AnyFrame | Exception | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._held_bytes = 0
        self._stopped = False
        threading.Thread(target=self._pump, name="prefetch", daemon=True).start()

    def __next__(self) -> AnyFrame:
        item = self._ready.get()
        if item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        if isinstance(item, DataFrame):
            with self._room:
                self._held_bytes -= len(item.chunk)
                self._room.notify_all()
        return item

    def stop(self) -> None:
        """Let the thread go: the stream is over, whatever was not read is dropped."""
        with self._room:
            self._stopped = True
            self._room.notify_all()

    def _pump(self) -> None:
        try:
            for frame in self._frames:
                size_bytes = len(frame.chunk) if isinstance(frame, DataFrame) else 0
                with self._room:
                    self._held_bytes += size_bytes
                self._ready.put(frame)
                with self._room:
                    self._room.wait_for(lambda: self._stopped or self._held_bytes < self._limit_bytes)
        except Exception as error:  # the reader raises it
            self._ready.put(error)
        else:
            self._ready.put(None)
