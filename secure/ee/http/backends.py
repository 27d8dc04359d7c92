"""Who computes: an engine in this process, a gRPC party, or an HTTP endpoint of ids. All speak encrypted ids."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from secure.ee.client.client import Client
from secure.parties.encrypted import run
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import Admission, Finish, GenerationEngine, Sampling
from secure.parties.encrypted.run import Deliver, Ended

_T = TypeVar("_T")


@dataclass(frozen=True)
class Offer:
    """What a backend serves. None where it does not say."""

    context_tokens: int
    most_new_tokens: int | None = None


@dataclass(frozen=True)
class Piece:
    """Ids that arrived; with the last ones why it ended."""

    ids: list[int]
    finish: Finish | None = None


Pieces = AsyncGenerator[Piece, None]


class Backend(ABC):
    """Generates from encrypted ids."""

    @abstractmethod
    async def offer(self) -> Offer:
        """What is served. Raises HandshakeError or CheckpointError, before any id is sent, for another key or model."""

    @abstractmethod
    def generate(self, ids: Sequence[int], sampling: Sampling, at_once: bool) -> Pieces:
        """Ids as they arrive, or all at once. Closing the generator ends the computation."""

    async def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """End connections."""


class LocalBackend(Backend):
    """The engine of this process."""

    def __init__(self, engine: GenerationEngine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission

    async def offer(self) -> Offer:
        return Offer(self._engine.served.context_tokens, self._admission.limits.new_tokens)

    async def generate(self, ids: Sequence[int], sampling: Sampling, at_once: bool) -> Pieces:
        self._admission.check_prompt(ids, sampling)
        cancelled = threading.Event()

        def work(deliver: Deliver[Piece]) -> None:
            with self._admission.slot():
                finish = self._engine.generate(ids, sampling, lambda token: deliver(Piece([token])), cancelled)
            deliver(Piece([], finish))

        async with aclosing(_arriving(work, cancelled.set)) as pieces:
            async for piece in pieces:
                yield piece


class GrpcBackend(Backend):
    """A generation party."""

    def __init__(self, connection: GenerationClient, client: Client) -> None:
        self._connection = connection
        self._client = client

    async def offer(self) -> Offer:
        described = await asyncio.to_thread(self._connection.describe)
        self._client.check_served(described.manifest)
        return Offer(described.context_tokens, described.most_new_tokens)

    async def generate(self, ids: Sequence[int], sampling: Sampling, at_once: bool) -> Pieces:
        await self.offer()
        stream = self._connection.generate(ids, sampling, at_once=at_once)

        def work(deliver: Deliver[Piece]) -> None:
            for part in stream:
                deliver(Piece(part))
            deliver(Piece([], stream.finish))

        async with aclosing(_arriving(work, stream.cancel)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        self._connection.close()


async def _arriving(work: Callable[[Deliver[_T]], None], cancel: Callable[[], None]) -> AsyncGenerator[_T, None]:
    """What `work` delivers in a thread of its own. Closing the generator calls `cancel`."""
    loop, items = asyncio.get_running_loop(), asyncio.Queue[_T | Ended]()

    def deliver(item: _T | Ended) -> None:
        # The loop is closed when the program ends before the thread does.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(items.put_nowait, item)

    run.start(work, deliver)
    try:
        while not isinstance(item := await items.get(), Ended):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        cancel()
