"""Where an encrypted checkpoint runs, as its client sees it: in this process or at a server. All ids are encrypted."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

from secure.ee.client.client import Client, open_client
from secure.ee.engine.server_engine import TransformersEngine
from secure.parties.encrypted import run
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import GenerationEngine, Pooling, Sampling
from secure.parties.encrypted.run import Ended
from secure.protocols.core.errors import CheckpointError, ConfigurationError


class HiddenStates(Protocol):
    """Split mode: embeddings in, last hidden states out."""

    def extend(self, embeddings: Tensor) -> Tensor:
        """Shapes: [T, D] -> [T, D]."""


class Runner(ABC):
    """Runs one checkpoint."""

    @abstractmethod
    def generate(self, ids: Sequence[int], sampling: Sampling, *, at_once: bool) -> Iterator[int]:
        """The ids that follow, as they are drawn or all at the end. Closing the iterator stops the work."""

    @abstractmethod
    def embed(
        self,
        rows: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None,
        pixels: Tensor | None,
        pooling: Pooling,
    ) -> Tensor:
        """Shapes: [rows, D], or [rows, T, D] with pooling "none"."""

    @abstractmethod
    def classify(
        self, rows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None, pixels: Tensor | None
    ) -> Tensor:
        """Shapes: [rows, classes]."""

    @abstractmethod
    def sequence(self) -> AbstractContextManager[HiddenStates]:
        """A sequence of split mode."""

    @abstractmethod
    def context_tokens(self) -> int:
        """Most positions of prompt and new tokens together."""

    @abstractmethod
    def close(self) -> None:
        """Free what it holds."""


class LocalRunner(Runner):
    """In this process: protects nothing from it, and is for trying and measuring."""

    def __init__(self, engine: GenerationEngine) -> None:
        self._engine = engine

    def generate(self, ids: Sequence[int], sampling: Sampling, *, at_once: bool) -> Iterator[int]:
        messages: queue.SimpleQueue[int | Ended] = queue.SimpleQueue()
        cancelled = threading.Event()

        def work(deliver: run.Deliver[int]) -> None:
            self._engine.generate(ids, sampling, deliver, cancelled)

        run.start(work, messages.put)
        try:
            while not isinstance(message := messages.get(), Ended):
                yield message
            if message.error is not None:
                raise message.error
        finally:
            cancelled.set()

    def embed(
        self,
        rows: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None,
        pixels: Tensor | None,
        pooling: Pooling,
    ) -> Tensor:
        return self._engine.embed(rows, token_types, pixels, pooling)

    def classify(
        self, rows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None, pixels: Tensor | None
    ) -> Tensor:
        return self._engine.classify(rows, token_types, pixels)

    @contextmanager
    def sequence(self) -> Iterator[HiddenStates]:
        yield self._engine.begin()

    def context_tokens(self) -> int:
        return self._engine.served.context_tokens

    def close(self) -> None:
        """The engine ends with its last user."""


class RemoteRunner(Runner):
    """At a generation party. Key and manifest are compared before the first id leaves."""

    def __init__(self, connection: GenerationClient, client: Client) -> None:
        """Raises HandshakeError or CheckpointError unless the party serves what this client's key encrypted."""
        self._client = connection
        client.check_served(connection.describe().manifest)

    def generate(self, ids: Sequence[int], sampling: Sampling, *, at_once: bool) -> Iterator[int]:
        with self._client.generate(ids, sampling, at_once=at_once) as stream:
            for tokens in stream:
                yield from tokens

    def embed(
        self,
        rows: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None,
        pixels: Tensor | None,
        pooling: Pooling,
    ) -> Tensor:
        return self._client.embed(rows, token_types=token_types or (), pixels=pixels, pooling=pooling)

    def classify(
        self, rows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None, pixels: Tensor | None
    ) -> Tensor:
        return self._client.classify(rows, token_types=token_types or (), pixels=pixels)

    def sequence(self) -> AbstractContextManager[HiddenStates]:
        return self._client.sequence()

    def context_tokens(self) -> int:
        return self._client.describe().context_tokens

    def close(self) -> None:
        self._client.close()


def open_runner(client: Client, server: Path | str | None, certificates: Path | str | None, device: str) -> Runner:
    """What runs a client's checkpoint. Arguments and errors as for `EncryptedModel.from_pretrained`."""
    if isinstance(server, str) and not Path(server).is_dir():
        if certificates is None:
            raise ConfigurationError(
                f"{server} is a server's address, which needs certificates: the folder with authority.crt, client.crt "
                "and client.key; if it should be a folder, there is none of that name"
            )
        connection = GenerationClient(server, Path(certificates), client.key.check_value)
        try:
            return RemoteRunner(connection, client)
        except BaseException:
            connection.close()
            raise
    folder = client.folder if server is None else Path(server)
    checkpoint = open_client(folder, client.key).manifest
    if checkpoint.mode == "client":
        raise CheckpointError(f"{folder} is a split checkpoint's client side; name the other side with server=")
    if client.manifest.mode == "split":
        raise CheckpointError(f"{folder} has a split checkpoint's layers alone; open the client's folder with server=")
    client.manifest.check_same_model(checkpoint, str(folder))
    checkpoint.check_files(folder)
    return LocalRunner(TransformersEngine(folder, device))
