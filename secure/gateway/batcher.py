"""Texts of many callers in few sessions: what arrives while one runs goes out together in the next.

A session takes about as long for eight texts as for one, as its rounds are the same. There is no timer: a text that
arrives while nothing runs goes out at once, so a gateway with one caller answers no later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from secure.gateway.ledger import SessionLedger
from secure.http.callers import Asked, asked
from secure.parties.session.fair_queue import FairQueue
from secure.protocols.core.errors import SessionError

Rows = Sequence[Sequence[int]]
MOST_ROWS = 32
"""Texts in one session. What is padded, and what one-hot vectors take of memory, bounds them, too: see `batches`."""


@dataclass(frozen=True)
class _TextRow:
    ids: Sequence[int]
    request: Asked
    vector: Future[Tensor] = field(default_factory=Future)


class Batcher:
    """Embeds rows of token ids for callers in several threads, one row of each caller in turn."""

    def __init__(
        self, embed: Callable[[Rows], Tensor], most_rows: int = MOST_ROWS, ledger: SessionLedger | None = None
    ) -> None:
        """embed: one vector for each row, called from one thread alone. most_rows: that it is given at a time."""
        self._embed = embed
        self._most_rows = most_rows
        self._ledger = ledger or SessionLedger()
        self._waiting: FairQueue[str, _TextRow] = FairQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def __call__(self, rows: Rows) -> list[list[float]]:
        """One vector for each row. Waits for them. Raises what the session with any of the rows raised."""
        request = asked()
        mine = [_TextRow(row, request) for row in rows]
        with self._changed:
            if self._closed:
                raise SessionError("the gateway is stopping")
            for row in mine:
                self._waiting.put(request.caller.name, row)
            self._changed.notify()
        vectors: list[list[float]] = [row.vector.result().tolist() for row in mine]
        return vectors

    def close(self) -> None:
        """Let the session that runs end, and refuse whoever waits for the next one."""
        with self._changed:
            self._closed = True
            waiting = self._waiting.clear()
            self._changed.notify()
        for row in waiting:
            row.vector.set_exception(SessionError("the gateway is stopping"))
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            if there := [row for row in batch if not row.request.gone.is_set()]:
                self._serve(there)
            for row in batch:
                if not row.vector.done():
                    row.vector.set_exception(SessionError("the caller went away"))

    def _serve(self, batch: Sequence[_TextRow]) -> None:
        try:
            with self._ledger.session({row.request.caller.name for row in batch}, len(batch)) as number:
                vectors = self._embed([row.ids for row in batch])
        except Exception as error:
            for row in batch:
                row.vector.set_exception(error)
            return
        for row, vector in zip(batch, vectors, strict=True):
            if number not in row.request.sessions:
                row.request.sessions.append(number)
            row.vector.set_result(vector)

    def _next(self) -> list[_TextRow]:
        """The rows of the next session; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) or self._closed)
            return self._waiting.take(lambda taken, _: len(taken) < self._most_rows)
