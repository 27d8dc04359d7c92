"""The limits that a server keeps, whichever engine it has, so that no client takes it all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from secure.parties.encrypted.engine import EncoderInputs, Served
from secure.parties.encrypted.tokens import SamplingParameters
from secure.protocols.core.errors import InputError, ServerBusy


@dataclass(frozen=True)
class GenerationLimits:
    """The bounds."""

    prompt_tokens: int = 8192
    new_tokens: int = 4096
    requests: int = 4
    """Requests that are computed at a time. More are refused at once, not queued."""
    rows: int = 64
    """Rows in one request."""
    idle_seconds: float = 60.0
    """How long a client in split mode may keep its key-value cache without sending positions."""


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

    def check_prompt(self, ids: Sequence[int], sampling: SamplingParameters) -> None:
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

    def check_inputs(self, inputs: EncoderInputs) -> None:
        """Raises InputError that names lengths and limits, never an id; of images the engine knows more."""
        rows, token_types = inputs.rows, inputs.token_types
        if not rows and inputs.pixels is not None:
            return
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
