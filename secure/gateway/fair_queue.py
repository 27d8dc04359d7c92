"""Whose turn is next: callers one after another, so that one with many requests delays another by one of them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """What waits, by caller. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        """The caller whose turn is next stands first."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        """All of it, in no order that counts."""
        return (item for items in self._waiting.values() for item in items)

    def put(self, caller: str, item: T) -> None:
        self._waiting.setdefault(caller, deque()).append(item)

    def take(self, fits: Callable[[list[T], T], bool]) -> list[T]:
        """What goes out together: one of each caller in turn, while the next one fits those before it."""
        taken: list[T] = []
        while self._waiting:
            caller, items = next(iter(self._waiting.items()))
            if not fits(taken, items[0]):
                break
            taken.append(items.popleft())
            self._waiting.move_to_end(caller)
            if not items:
                del self._waiting[caller]
        return taken

    def clear(self) -> list[T]:
        """Take all of it."""
        items = list(self)
        self._waiting.clear()
        return items
