"""From pieces that a thread waits for to pieces that asyncio waits for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TypeVar

from secure.parties.encrypted.tokens import Pieces

T = TypeVar("T")


@dataclass(frozen=True)
class _PiecesEnded:
    """The last thing that arrives: what ended the pieces, None when they were all there."""

    error: Exception | None


async def async_pieces(begin: Callable[[], Pieces[T]]) -> AsyncGenerator[T, None]:
    """The pieces that `begin` gives, which is called and read in a thread of its own.

    Closing the generator closes the pieces, at whatever the thread is waiting.
    """
    loop, arrived = asyncio.get_running_loop(), asyncio.Queue[T | _PiecesEnded]()
    begun: list[Pieces[T]] = []
    closed = threading.Event()

    def deliver(item: T | _PiecesEnded) -> None:
        # The loop is closed when the program ends before the thread does.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.put_nowait, item)

    def read() -> None:
        error: Exception | None = None
        try:
            with begin() as pieces:
                begun.append(pieces)
                # Whoever closes sees the pieces or has set the event before: one of both closes them.
                if not closed.is_set():
                    for piece in pieces:
                        deliver(piece)
        except Exception as caught:
            error = caught
        deliver(_PiecesEnded(error))

    # It works for the same request.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(read,), name="answer", daemon=True).start()
    try:
        while not isinstance(item := await arrived.get(), _PiecesEnded):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        for pieces in begun:
            pieces.close()
