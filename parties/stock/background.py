"""A thread that does one thing again and again beside a party's sessions, and outlives whatever goes wrong in it."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable

from secure.protocols.core.errors import SecureInferenceError

_LOG = logging.getLogger("parties")


class Background:
    """Calls `turn` until it is stopped, with a pause after each call. stopping: set when it is to end.

    trouble: what the last turn failed with, in words that may be shown; empty after one that went well. A trouble is
    logged once, until another one takes its place.
    """

    def __init__(self, name: str, turn: Callable[[], None], pause_seconds: float, *, level: int) -> None:
        """name: what it does, for the log. level: of errors of the tree there; any other is a defect."""
        self.stopping = threading.Event()
        self.trouble = ""
        self.name = name
        self._turn = turn
        self._pause_seconds = pause_seconds
        self._level = level
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other turn."""
        self.stopping.set()

    def join(self) -> None:
        """Wait for the end, after `stop`."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._turn()
                self.trouble = ""
            except SecureInferenceError as error:
                self._note(str(error), self._level)
            except Exception as error:
                # A defect. The error's text could hold a value: tell only its class and where it was raised.
                where = "".join(traceback.format_tb(error.__traceback__))
                self._note(f"failed with {type(error).__name__}", logging.ERROR, where)
            self.stopping.wait(self._pause_seconds)

    def _note(self, trouble: str, level: int, where: str = "") -> None:
        if trouble != self.trouble and not self.stopping.is_set():
            _LOG.log(level, "%s: %s%s", self.name, trouble, where and f"\n{where}")
        self.trouble = trouble
