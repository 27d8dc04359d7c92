"""Texts of many callers in few sessions: what arrives while one runs goes out together in the next.

A session takes about as long for eight texts as for one, as its rounds are the same. There is no timer: a text that
arrives while nothing runs goes out at once, so a gateway with one caller answers no later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from torch import Tensor

from secure.protocols.core.errors import SessionError

Rows = Sequence[Sequence[int]]
MOST_ROWS = 32
"""Texts in one session. What is padded, and what one-hot vectors take of memory, bounds them, too: see `batches`."""


class Batcher:
    """Embeds rows of token ids for callers in several threads."""

    def __init__(self, embed: Callable[[Rows], Tensor], most_rows: int = MOST_ROWS) -> None:
        """embed: one vector for each row, called from one thread alone. most_rows: that it is given at a time."""
        self._embed = embed
        self._most_rows = most_rows
        self._waiting: deque[tuple[Sequence[int], Future[Tensor]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def __call__(self, rows: Rows) -> list[list[float]]:
        """One vector for each row. Waits for them. Raises what the session with any of the rows raised."""
        mine = [(row, Future[Tensor]()) for row in rows]
        with self._changed:
            if self._closed:
                raise SessionError("the gateway is stopping")
            self._waiting.extend(mine)
            self._changed.notify()
        vectors: list[list[float]] = [vector.result().tolist() for _, vector in mine]
        return vectors

    def close(self) -> None:
        """Let the session that runs end, and refuse whoever waits for the next one."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify()
        for _, vector in waiting:
            vector.set_exception(SessionError("the gateway is stopping"))
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            try:
                vectors = self._embed([row for row, _ in batch])
            except Exception as error:
                for _, vector in batch:
                    vector.set_exception(error)
            else:
                for (_, vector), found in zip(batch, vectors, strict=True):
                    vector.set_result(found)

    def _next(self) -> list[tuple[Sequence[int], Future[Tensor]]]:
        """The rows of the next session, those that waited longest; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.popleft() for _ in range(min(self._most_rows, len(self._waiting)))]
