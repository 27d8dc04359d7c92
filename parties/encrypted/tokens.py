"""What is asked of a generation, who makes it, and what comes back: ids as they arrive, and why they end."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from secure.protocols.core.errors import InputError

T = TypeVar("T")

Finish = Literal["stop", "length"]
"""Why a generation ended: a stop id, or no room for more."""


MOST_LOGPROBS = 20
"""Likeliest tokens that are told of one place."""


@dataclass(frozen=True)
class SamplingParameters:
    """How tokens are drawn, and when to stop."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None
    """Makes draws repeatable on one machine; None takes a fresh one."""
    stop_ids: tuple[int, ...] = ()
    """Ids that end the generation, beside the model's own; the one that did is the last id of the output."""
    logprobs: int | None = None
    """How many of the likeliest ids come with each token, with their logarithms and the token's own; None: nothing."""

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
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise InputError(f"logprobs is {self.logprobs}; it must be from 0 to {MOST_LOGPROBS}")


@dataclass(frozen=True)
class ContextRoom:
    """How much a model takes. None where it does not say."""

    context_tokens: int
    """Most positions of prompt and new tokens together."""
    most_new_tokens: int | None = None
    budget_tokens: int | None = None
    """Most positions of prompt and new tokens together that the budget of the key leaves to one request."""


@dataclass(frozen=True)
class TokenLogprobs:
    """The natural logarithm of a token's probability, and the likeliest ids at its place with theirs, falling.

    They are of the model's own distribution, before temperature and top_p shape it.
    """

    logprob: float
    likeliest: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class TokenPiece:
    """Ids that arrived, where it was asked for with the logarithms of each; with the last ones why it ended."""

    ids: Sequence[int]
    finish: Finish | None = None
    logprobs: Sequence[TokenLogprobs] = ()

    def translated(self, move: Callable[[list[int]], list[int]]) -> TokenPiece:
        """This piece in other ids."""
        told = [
            TokenLogprobs(each.logprob, list(zip(move([id for id, _ in each.likeliest]), values, strict=True)))
            for each in self.logprobs
            for values in [[value for _, value in each.likeliest]]
        ]
        return TokenPiece(move(list(self.ids)), self.finish, told)


Emit = Callable[[TokenPiece], None]
"""Called with each token as it is drawn."""


class Pieces(ABC, Iterator[T]):
    """An answer at work. A context manager whose end is `close`."""

    @abstractmethod
    def close(self) -> None:
        """End the work, from any thread: a `next` that waits in another one ends, too. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


TokenPieces = Pieces[TokenPiece]


class GeneratedPieces(Pieces[T]):
    """Pieces that a generator makes."""

    def __init__(self, made: Generator[T, None, None], close: Callable[[], None]) -> None:
        """close: called from any thread, ends what the generator waits for, or has it return at its next step."""
        self._made = made
        self._close = close

    def __next__(self) -> T:
        return next(self._made)

    def close(self) -> None:
        self._close()
        # While it runs in another thread it ends by itself.
        with suppress(ValueError):
            self._made.close()


class TokenGenerator(ABC):
    """Whatever makes tokens from a prompt's ids. Its methods are called from several threads at a time."""

    @abstractmethod
    def room(self) -> ContextRoom:
        """How much the model takes."""

    @abstractmethod
    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        """The ids that follow, as they are drawn, or at_once: all in one piece at the end.

        Raises InputError for a request that is wrong and SessionError and its kinds: here, or with the first piece.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what it holds."""
