"""What one side of a stream still has to send, and how much of it may wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from secure.parties.transport.frames import CHUNK_BYTES, AnyFrame, DataFrame
from secure.parties.transport.wire_pb2 import Frame
from secure.protocols.core.channel import Payload


class SendQueue:
    """Control frames and logical messages in order. gRPC takes them from `frames`, in a thread of its own.

    budget_bytes: how much payload may wait; None where the protocol's own rounds bound it.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        self._items: queue.SimpleQueue[Frame | Payload | None] = queue.SimpleQueue()
        self._budget_bytes = budget_bytes
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._closed = False

    def put_frame(self, frame: Frame) -> None:
        """Queue one control frame."""
        self._items.put(frame)

    def put_message(self, payload: Payload) -> bool:
        """Queue one logical message; blocks while the budget is used up. Returns False when the queue is closed."""
        if self._budget_bytes is not None:
            with self._room:
                # A message larger than the whole budget goes alone.
                self._room.wait_for(lambda: self._closed or self._fits(len(payload)))
                self._waiting_bytes += len(payload)
        if self._closed:
            return False
        self._items.put(payload)
        return True

    def finish(self) -> None:
        """Nothing more will come: what is queued still goes out, then `frames` ends."""
        self._items.put(None)

    def close(self) -> None:
        """Drop what is queued, and let nobody wait for room."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._items.put(None)

    def frames(self) -> Iterator[AnyFrame]:
        """What is queued, numbered and cut into chunks, until the queue is finished or closed."""
        sequence = 0
        while (item := self._items.get()) is not None and not self._closed:
            if isinstance(item, Frame):
                item.sequence = sequence
                sequence += 1
                yield item
                continue
            view = memoryview(item)
            for start in range(0, max(len(view), 1), CHUNK_BYTES):
                yield DataFrame(sequence, len(view), view[start : start + CHUNK_BYTES])
                sequence += 1
            self._release(len(view))

    def _fits(self, length_bytes: int) -> bool:
        return self._waiting_bytes == 0 or self._waiting_bytes + length_bytes <= (self._budget_bytes or 0)

    def _release(self, length_bytes: int) -> None:
        if self._budget_bytes is not None:
            with self._room:
                self._waiting_bytes -= length_bytes
                self._room.notify_all()
