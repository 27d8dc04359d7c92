"""What the generation party needs of an engine, and the limits that it keeps whichever engine it has."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from secure.protocols.core.errors import InputError, ServerBusy

if TYPE_CHECKING:
    from torch import Tensor  # The command line reads the limits below and does without torch.

Finish = Literal["stop", "length"]
"""Why a generation ended: a stop id, or no room for more."""
Pooling = Literal["mean", "first", "last", "none"]
POOLINGS: tuple[Pooling, ...] = ("mean", "first", "last", "none")


@dataclass(frozen=True)
class GenerationLimits:
    """Bounds that a server keeps, so that no client takes it all."""

    prompt_tokens: int = 8192
    new_tokens: int = 4096
    requests: int = 4
    """Requests that are computed at a time. More are refused at once, not queued."""
    rows: int = 64
    """Rows in one request."""
    idle_seconds: float = 60.0
    """How long a client in split mode may keep its key-value cache without sending positions."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and when to stop."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None
    """Makes draws repeatable on one machine; None takes a fresh one."""
    stop_ids: tuple[int, ...] = ()
    """Ids that end the generation, beside the model's own; the one that did is the last id of the output."""

    def __post_init__(self) -> None:
        """Raises InputError."""
        if self.max_new_tokens < 1:
            raise InputError(f"max_tokens is {self.max_new_tokens}; it must be 1 or more")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 2):
            raise InputError(f"temperature is {self.temperature}; it must be from 0 to 2")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.seed is not None and not 0 <= self.seed < 1 << 63:
            raise InputError("seed must be from 0 to 2^63 - 1")


@dataclass(frozen=True)
class Served:
    """What an engine serves."""

    name: str
    manifest: str
    """encryption.json."""
    key_check: str
    vocabulary: int
    """Ids are below it; 0 where the model takes no ids."""
    context_tokens: int
    """Most positions of prompt and new tokens together."""
    width: int
    """Numbers in one hidden state."""


class HiddenSequence(ABC):
    """Split mode: one sequence whose embeddings arrive in pieces, with its key-value cache."""

    @abstractmethod
    def extend(self, embeddings: Tensor) -> Tensor:
        """The last hidden states of further positions. Shapes: [T, D] -> [T, D], on the CPU."""


class GenerationEngine(ABC):
    """Runs one encrypted checkpoint. Its methods are called from several threads at a time."""

    served: Served

    @abstractmethod
    def generate(
        self, ids: Sequence[int], sampling: Sampling, emit: Callable[[int], None], cancelled: threading.Event
    ) -> Finish:
        """Generate after `ids`, giving each id to `emit` as it is drawn; return early once `cancelled` is set.

        Raises InputError where the model generates nothing.
        """

    @abstractmethod
    def embed(
        self,
        rows: Sequence[Sequence[int]],
        token_types: Sequence[Sequence[int]] | None,
        pixels: Tensor | None,
        pooling: Pooling,
    ) -> Tensor:
        """Last hidden states in the encrypted basis. Shapes: [rows, D] pooled, [rows, T, D] for "none" (padded at the
        end with zeros), on the CPU. Raises InputError."""

    @abstractmethod
    def classify(
        self, rows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None, pixels: Tensor | None
    ) -> Tensor:
        """A classifier's logits. Shapes: [rows, classes], on the CPU. Raises InputError where the model is none."""

    @abstractmethod
    def begin(self) -> HiddenSequence:
        """A new sequence for split mode. Raises InputError where the model takes no embeddings."""


class Admission:
    """Checks a request against the limits, and counts the requests that are computed."""

    def __init__(self, served: Served, limits: GenerationLimits) -> None:
        self.limits = limits
        self.most_prompt_tokens = min(limits.prompt_tokens, served.context_tokens)
        self._served = served
        self._slots = threading.BoundedSemaphore(limits.requests)
        self._changed = threading.Condition()
        self._running = 0

    @property
    def running(self) -> int:
        """Requests at this moment."""
        return self._running

    @contextmanager
    def slot(self) -> Iterator[None]:
        """The right to compute one request. Raises ServerBusy when there is none left."""
        if not self._slots.acquire(blocking=False):
            raise ServerBusy(f"the server computes {self.limits.requests} requests already; try again a little later")
        try:
            with self._changed:
                self._running += 1
            yield
        finally:
            self._slots.release()
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no request is computed; False after the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout_seconds)

    def check_prompt(self, ids: Sequence[int], sampling: Sampling) -> None:
        """Raises InputError that names lengths and limits, never an id."""
        self.check_row(ids)
        if sampling.max_new_tokens > self.limits.new_tokens:
            raise InputError(
                f"max_tokens is {sampling.max_new_tokens}; this server gives at most {self.limits.new_tokens}"
            )
        total = len(ids) + sampling.max_new_tokens
        if total > self._served.context_tokens:
            raise InputError(
                f"the prompt's {len(ids)} tokens and max_tokens {sampling.max_new_tokens} are {total} together; "
                f"this model has room for {self._served.context_tokens}"
            )
        # A stop id that the model cannot draw is a mistake of the client's.
        self._check_ids(sampling.stop_ids, "stop ids")

    def check_rows(self, rows: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None) -> None:
        """Raises InputError."""
        if not 0 < len(rows) <= self.limits.rows:
            raise InputError(f"the request has {len(rows)} rows; this server takes 1 to {self.limits.rows}")
        for row in rows:
            self.check_row(row)
        if token_types is not None and [len(row) for row in rows] != [len(row) for row in token_types]:
            raise InputError("token types must have the lengths of the rows that they belong to")

    def check_row(self, ids: Sequence[int]) -> None:
        """Raises InputError."""
        if not ids:
            raise InputError("the prompt is empty; it must have one token or more")
        if len(ids) > self.most_prompt_tokens:
            raise InputError(f"the prompt has {len(ids)} tokens; this server takes at most {self.most_prompt_tokens}")
        self._check_ids(ids, "ids")

    def _check_ids(self, ids: Sequence[int], what: str) -> None:
        if self._served.vocabulary == 0:
            raise InputError("this checkpoint takes no token ids: it computes on images, or its client keeps them")
        if ids and not (min(ids) >= 0 and max(ids) < self._served.vocabulary):
            raise InputError(f"the prompt's {what} must be from 0 to {self._served.vocabulary - 1}")
