"""Work in a thread of its own, whose results arrive one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")
Deliver = Callable[[T], None]


class Ended(NamedTuple):
    """The last thing that is delivered: what ended the work, None when it was done."""

    error: Exception | None


def start(work: Callable[[Deliver[T]], None], deliver: Deliver[T | Ended]) -> None:
    """Call `work` with `deliver` in a new thread; at its end, whatever ended it, deliver Ended."""

    def run() -> None:
        error: Exception | None = None
        try:
            work(deliver)
        except Exception as caught:
            error = caught
        deliver(Ended(error))

    threading.Thread(target=run, name="generation", daemon=True).start()
