"""Memory that running sessions were promised at one role."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secure.models.storage.capacity import human_bytes
from secure.protocols.core.errors import InputError


class Reservations:
    """What each session may take is set aside before it takes it, so that sessions do not count on the same memory."""

    def __init__(self, role: str, free_bytes: Callable[[], int | None], most_bytes: int | None = None) -> None:
        """free_bytes: what this role may still take now; None where nothing is known. most_bytes: of one session."""
        self._role = role
        self._free_bytes = free_bytes
        self._most_bytes = most_bytes
        self._idle_bytes: int | None = None
        self._reserved: list[int] = []
        self._lock = threading.Lock()
        self.when_short: Callable[[], None] | None = None
        """Called before a session is refused: gives back what can be made again."""

    @contextmanager
    def reserved(self, needed_bytes: int) -> Iterator[None]:
        """Set memory aside inside the block. Raises InputError, with the figures, when there is not so much, or when a
        session may not take so much.
        """
        if self._most_bytes is not None and needed_bytes > self._most_bytes:
            raise InputError(
                f"{self._role} would take about {human_bytes(needed_bytes)} of memory for this request, and gives a "
                f"session {human_bytes(self._most_bytes)} at most; send fewer rows at a time, or shorter ones, or "
                "raise the party's [limits] session_bytes"
            )
        with self._lock:
            free = self._left_bytes()
            if free is not None and needed_bytes > free and self.when_short is not None:
                self.when_short()
                free = self._left_bytes()
            if free is not None and needed_bytes > free:
                raise InputError(
                    f"{self._role} would take about {human_bytes(needed_bytes)} of memory for this request, of which "
                    f"{human_bytes(free)} are free for it; send fewer rows at a time, or shorter ones, or raise the "
                    "party's [limits] memory_bytes"
                )
            self._reserved.append(needed_bytes)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.remove(needed_bytes)

    def _left_bytes(self) -> int | None:
        """What is free now, and also no more than was free without sessions, less what these were promised."""
        free = self._free_bytes()
        if not self._reserved:
            self._idle_bytes = free
        if free is None or self._idle_bytes is None:
            return free
        return min(free, self._idle_bytes - sum(self._reserved))
