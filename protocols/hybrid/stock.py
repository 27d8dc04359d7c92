"""What one party keeps of a making until the session that uses it: once, and never a second time.

Whatever a seed gives again is not kept: masks, the owner's shares of products, labels of what the garbler knows. What
is kept is in the order of gates, and is taken out in that order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.circuits import Garbler


@dataclass(eq=False)
class Stock:
    """One party's part of a making, in memory alone.

    index: 0 at the client, 1 at the owner. session: what names the making, to both. seed: this party's own, of its
    masks; labels: of what both expand. delta: the garbler's offset; None at the evaluator. Shapes: uint64 [2].
    """

    index: int
    session: bytes
    garbler: Garbler
    seed: bytes = field(repr=False)
    labels: bytes = field(repr=False)
    delta: Array | None = field(repr=False)
    size_bytes: int = 0
    _entries: deque[tuple[int, Array]] = field(default_factory=deque, repr=False)
    _begun: bool = False

    @property
    def garbles(self) -> bool:
        """Whether this party is the one that garbles."""
        return (self.index == 0) == (self.garbler == "client")

    def put(self, gate: int, kept: Array) -> None:
        """Keep something for a gate."""
        self._entries.append((gate, kept))
        self.size_bytes += kept.nbytes

    def begin(self) -> None:
        """Begin to use it. Raises ProtocolError where that was begun before: nothing of it may serve twice."""
        if self._begun:
            raise ProtocolError("a stock was begun before; it serves one session, also one that failed")
        self._begun = True

    def take(self, gate: int, due: int) -> Array:
        """What was kept next, which is then no longer here. due: how many bytes it must have.

        Raises ProtocolError where that is nothing, was kept for another gate, or has another size.
        """
        if not self._entries or self._entries[0][0] != gate or self._entries[0][1].nbytes != due:
            raise ProtocolError(
                f"gate {gate} has nothing in stock that fits; its making ran another program or version"
            )
        _, kept = self._entries.popleft()
        self.size_bytes -= kept.nbytes
        return kept

    def burn(self) -> None:
        """Forget everything: whatever happened, it is of no use any more."""
        self._begun = True
        self._entries.clear()
        self.size_bytes = 0
        self.seed = self.labels = b""
        self.delta = None if self.delta is None else np.zeros_like(self.delta)

    def finish(self) -> None:
        """Raises ProtocolError when something is left over."""
        if self._entries:
            raise ProtocolError(
                f"{len(self._entries)} entries of a stock were not used, the first of gate {self._entries[0][0]}; "
                "its making ran another program or version"
            )
