"""Whose turn is next: callers one after another, so that one with many requests delays another by one of them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
T = TypeVar("T")


class FairQueue(Generic[C, T]):
    """What waits, by caller. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[C, deque[T]] = OrderedDict()
        """The caller whose turn is next stands first."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        """All of it, in the order of turns."""
        queues = [list(items) for items in self._waiting.values()]
        for number in range(max(map(len, queues), default=0)):
            yield from (items[number] for items in queues if number < len(items))

    def put(self, caller: C, item: T) -> None:
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

    def remove(self, caller: C, item: T) -> bool:
        """Whether it still waited; it does no more."""
        items = self._waiting.get(caller)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._waiting[caller]
        return True

    def clear(self) -> list[T]:
        """Take all of it."""
        items = list(self)
        self._waiting.clear()
        return items
