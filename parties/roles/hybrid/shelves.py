"""What a party keeps of a making, on a tape of its stock: written once, and read once by the session that uses it.

A tape has two messages for each entry: the gate's number, as eight bytes, and what was kept. Behind the last entry
stands the number -1, and how long the making took.
"""

from __future__ import annotations

import struct

import numpy as np

from secure.parties.stock.tape import TapeReader, TapeWriter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.stock import Shelf

_NUMBER, _SECONDS = struct.Struct("<q"), struct.Struct("<d")
_END = -1


class WrittenShelf(Shelf):
    """A tape that is being made."""

    def __init__(self, writer: TapeWriter) -> None:
        self._writer = writer

    def put(self, gate: int, kept: Array) -> None:
        """Raises StockFull where the stock has no room for it."""
        self._writer.write(_NUMBER.pack(gate), 0)
        self._writer.write(kept.data, 0)

    def take(self) -> tuple[int, Array] | None:
        raise ProtocolError("a tape that is being made is read by a later session")

    def clear(self) -> None:
        raise ProtocolError("a tape that is being made is discarded by the stock")

    def end(self, seconds: float) -> None:
        """Nothing more is kept; seconds: that the making took."""
        self._writer.write(_NUMBER.pack(_END), 0)
        self._writer.write(_SECONDS.pack(seconds), 0)


class ReadShelf(Shelf):
    """A tape in the one session that reads it. seconds: that its making took, once all was taken."""

    def __init__(self, reader: TapeReader) -> None:
        self._reader = reader
        self.seconds = 0.0

    def put(self, gate: int, kept: Array) -> None:
        raise ProtocolError("a tape was made whole; nothing is added to it")

    def take(self) -> tuple[int, Array] | None:
        """Raises CorrelationsDamaged where what was written is not there whole."""
        (gate,), kept = _NUMBER.unpack(self._reader.receive()), self._reader.receive()
        if gate == _END:
            (self.seconds,) = _SECONDS.unpack(kept)
            return None
        return gate, np.frombuffer(kept, np.uint8)

    def clear(self) -> None:
        self._reader.close()
