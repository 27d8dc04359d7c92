"""A tape: what the dealer would send a party in one session, in order, sealed under a key of this deal's own.

    magic, then segments as in `secure.parties.stock.segments`, bound to the magic and the deal's name

It is written once, whole, and read once by a session. The file is gone when that begins: no session reads it again.
"""

from __future__ import annotations

import errno
import os
import weakref
from contextlib import suppress
from pathlib import Path

from secure.parties.stock.binding import short_name
from secure.parties.stock.sealed import sync_folder
from secure.parties.stock.segments import SegmentReader, SegmentWriter
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import CorrelationsDamaged, DamagedFile, ProtocolError, StockFull

SUFFIX = ".tape"
_MAGIC = b"secure-inference tape 1\n"


class TapeWriter:
    """Writes one tape of at most `room_bytes`. Close it, or discard it."""

    def __init__(self, path: Path, name: str, key: bytes, room_bytes: int) -> None:
        """Raises StockFull where not even the file can be made."""
        self._path = path
        self._room_bytes = room_bytes
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            self._file.write(_MAGIC)
        except OSError as error:
            raise _full(error) from None
        self._segments = SegmentWriter(self._file, key, _MAGIC + name.encode())

    @property
    def size_bytes(self) -> int:
        """Written so far."""
        return len(_MAGIC) + self._segments.size_bytes

    def write(self, message: Payload, step: int) -> None:
        """Append one message. Raises StockFull where it has no room."""
        if self.size_bytes + len(message) > self._room_bytes:
            raise StockFull(f"a deal takes more than the {self._room_bytes} bytes that the stock has left")
        try:
            self._segments.write(message, step)
        except OSError as error:
            raise _full(error) from None

    def close(self) -> None:
        """Have the whole tape and its name on the disk. Raises StockFull where the disk fails."""
        try:
            self._segments.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_folder(self._path.parent)
        except OSError as error:
            raise _full(error) from None

    def discard(self) -> None:
        """Remove what was written."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk refuses what was still in the buffer, which nobody wants
            self._file.close()


class TapeReader(Channel):
    """The dealer as a party hears it in a session from stock."""

    peer = "dealer"

    def __init__(self, path: Path, name: str, key: bytes, *, stays: bool = False) -> None:
        """Open the file, and remove its name, unless it stays. Raises CorrelationsDamaged where there is no tape."""
        self._what = f"tape {short_name(name)}"
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CorrelationsDamaged(f"{self._what} cannot be read: {error.strerror}") from None
        weakref.finalize(self, self._file.close)
        if not stays:
            path.unlink()
        self._segments = SegmentReader(self._file, key, _MAGIC + name.encode())
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise CorrelationsDamaged(f"{self._what} is no tape of this version")

    def send(self, payload: Payload) -> None:
        raise ProtocolError("nothing is sent to a dealer that is not there")

    def receive(self) -> memoryview:
        """The next message. Raises CorrelationsDamaged where what was written is not there whole."""
        message = self._next()
        if message is None:
            raise CorrelationsDamaged(f"{self._what} ends before the session does; its deal is spent")
        return message

    def close(self) -> None:
        """Let go of the file, whose bytes the system then frees."""
        self._file.close()

    def _next(self) -> memoryview | None:
        try:
            return self._segments.read()
        except (DamagedFile, OSError) as error:
            raise CorrelationsDamaged(
                f"{self._what}: {error}; its deal is spent and will not be used again, repeat the call"
            ) from None


def check_tape(path: Path, name: str, key: bytes) -> None:
    """Read a tape from end to end, and leave it. Raises DamagedFile where it is not what was written, and OSError."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DamagedFile("it is no tape of this version")
        segments = SegmentReader(file, key, _MAGIC + name.encode())
        while segments.read() is not None:
            pass


def _full(error: OSError) -> StockFull:
    reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else error.strerror
    return StockFull(f"a deal cannot be written to the stock: {reason}")
