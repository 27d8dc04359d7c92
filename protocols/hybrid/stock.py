"""What one party keeps of a making until the session that uses it: once, and never a second time.

Whatever a seed gives again is not kept: masks, the owner's shares of products, labels of what the garbler knows. What
is kept is in the order of gates, and is taken out in that order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.circuits import Garbler


class Shelf(ABC):
    """Where entries lie: they are put there one after the other, and taken from there in the same order."""

    @abstractmethod
    def put(self, gate: int, kept: Array) -> None:
        """Keep something for a gate. Shapes: uint8 [n]."""

    @abstractmethod
    def take(self) -> tuple[int, Array] | None:
        """The next gate and what was kept for it; None where nothing is left. Shapes: -> uint8 [n]."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything that is left."""


class MemoryShelf(Shelf):
    """Entries in memory alone."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Array]] = deque()

    def put(self, gate: int, kept: Array) -> None:
        self._entries.append((gate, kept))

    def take(self) -> tuple[int, Array] | None:
        return self._entries.popleft() if self._entries else None

    def clear(self) -> None:
        self._entries.clear()


@dataclass(eq=False)
class Stock:
    """One party's part of a making.

    index: 0 at the client, 1 at the owner. session: what names the making, to both. seed: this party's own, of its
    masks. size_bytes: of what lies on the shelf.
    """

    index: int
    session: bytes
    garbler: Garbler
    seed: bytes = field(repr=False)
    shelf: Shelf = field(default_factory=MemoryShelf, repr=False)
    size_bytes: int = 0
    _filled: bool = False
    _begun: bool = False

    @property
    def garbles(self) -> bool:
        """Whether this party is the one that garbles."""
        return self.garbler == ("server" if self.index else "client")

    def fill(self) -> None:
        """Begin to fill it. Raises ProtocolError where that was begun before: its seed serves one making."""
        if self._filled:
            raise ProtocolError("a stock was filled before, or that was begun; each making takes a new one")
        self._filled = True

    def put(self, gate: int, kept: Array) -> None:
        """Keep something for a gate. Shapes: any, of any type of numbers."""
        self.shelf.put(gate, kept.reshape(-1).view(np.uint8))
        self.size_bytes += kept.nbytes

    def begin(self) -> None:
        """Begin to use it. Raises ProtocolError where that was begun before: nothing of it may serve twice."""
        if self._begun:
            raise ProtocolError("a stock was begun before; it serves one session, also one that failed")
        self._begun = True

    def take(self, gate: int, due: int) -> Array:
        """What was kept next, which is then no longer here. due: how many bytes it must have. Shapes: -> uint8 [due].

        Raises ProtocolError where that is nothing, was kept for another gate, or has another size.
        """
        found = self.shelf.take()
        if found is None or found[0] != gate or found[1].nbytes != due:
            raise ProtocolError(
                f"gate {gate} has nothing in stock that fits; its making ran another program or version"
            )
        self.size_bytes -= due
        return found[1]

    def burn(self) -> None:
        """Forget everything: whatever happened, it is of no use any more."""
        self._begun = True
        self.shelf.clear()
        self.size_bytes = 0
        self.seed = b""

    def finish(self) -> None:
        """Raises ProtocolError when something is left over."""
        found = self.shelf.take()
        if found is not None:
            raise ProtocolError(
                f"entries of a stock were not used, the first of gate {found[0]}; its making ran another program or "
                "version"
            )
