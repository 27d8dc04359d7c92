"""Reads a stream ahead of its consumer: p1's side of the dealer's stream, and streams of a network that is imitated."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator

from secure.parties.config import Measure
from secure.parties.transport.frames import AnyFrame, DataFrame
from secure.parties.transport.wire_pb2 import Frame


class Line:
    """When a frame that has arrived would have come over a slower line: after its bytes, and a delay later.

    Frames follow each other into the line without waiting for the ones before to be delivered, as on a real one.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._free_at = 0.0

    def due(self, arrived_at: float, size_bytes: int) -> float:
        """Delivery time of the next frame, on the clock of `arrived_at`. Frames must be passed in order."""
        self._free_at = max(self._free_at, arrived_at) + size_bytes / self._measure.bytes_per_second
        return self._free_at + self._measure.delay_seconds


class Prefetch(Iterator[AnyFrame]):
    """Reads `frames` ahead in a thread, until `limit_bytes` of chunks or more are held; None holds any number.

    Each frame is delivered when `measure` says that it would have come.
    """

    def __init__(self, frames: Iterator[AnyFrame], limit_bytes: int | None, measure: Measure) -> None:
        self._frames = frames
        self._limit_bytes = math.inf if limit_bytes is None else limit_bytes
        self._line = Line(measure)
        self._ready: queue.SimpleQueue[tuple[float, AnyFrame | Exception | None]] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._held_bytes = 0
        self._stopped = False
        self._complete = threading.Event()
        self._complete_at = 0.0
        threading.Thread(target=self._pump, name="prefetch", daemon=True).start()

    def __next__(self) -> AnyFrame:
        due_at, item = self._ready.get()
        if item is None:
            self._ready.put((due_at, None))  # for whoever asks again
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        _sleep_until(due_at)
        if isinstance(item, DataFrame):
            with self._room:
                self._held_bytes -= len(item.chunk)
                self._room.notify_all()
        return item

    def wait_until_complete(self) -> None:
        """Return when the sender has said that it sends no more, or when the stream is over."""
        self._complete.wait()
        _sleep_until(self._complete_at)

    def stop(self) -> None:
        """Let the thread go: the stream is over, whatever was not read is dropped."""
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._complete.set()

    def _pump(self) -> None:
        try:
            for frame in self._frames:
                size_bytes = len(frame.chunk) if isinstance(frame, DataFrame) else 0
                due_at = self._line.due(time.monotonic(), size_bytes)
                with self._room:
                    self._held_bytes += size_bytes
                self._ready.put((due_at, frame))
                if isinstance(frame, Frame) and frame.HasField("end"):
                    self._complete_at = due_at
                    self._complete.set()
                with self._room:
                    self._room.wait_for(lambda: self._stopped or self._held_bytes < self._limit_bytes)
        except Exception as error:  # the reader raises it
            self._ready.put((0.0, error))
        else:
            self._ready.put((0.0, None))
        self._complete.set()


def shaped(frames: Iterator[AnyFrame], measure: Measure) -> Iterator[AnyFrame]:
    """`frames` themselves, or as they would come over the network that `measure` imitates."""
    return Prefetch(frames, None, measure) if measure.shapes else frames


def _sleep_until(moment: float) -> None:
    remaining = moment - time.monotonic()
    if remaining > 0:
        time.sleep(remaining)
