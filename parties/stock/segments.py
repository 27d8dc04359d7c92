"""Messages in a file as sealed segments: AES-256-GCM, in order, and nothing that can be cut, moved or changed unseen.

A segment is a header (u32 bytes that follow, u16 step, u8 flags, little-endian), then ciphertext and a tag of 16 bytes.
The nonce is the segment's number, so **a key serves one file** and no other. Associated data are what the file is bound
to and the header. Segments hold 1 MiB at most, so a reader never allocates what a file says.
"""

from __future__ import annotations

import os
import queue
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import DamagedFile

SEGMENT_BYTES = 1 << 20
KEY_BYTES = 32
_HEADER = struct.Struct("<IHB")
_TAG_BYTES = 16
_NONCE_BYTES = 12
_MESSAGE_ENDS, _FILE_ENDS = 1, 2
_READERS = 2
"""Threads that read a large message: while one waits for the disk, or for pages of memory, the other decrypts."""


class SegmentWriter:
    """Writes one file, from where it stands. What is bound has to be bound again by whoever reads."""

    def __init__(self, file: BinaryIO, key: bytes, bound: bytes) -> None:
        self.size_bytes = 0
        """Written so far."""
        self._file = file
        self._aead = AESGCM(key)
        self._bound = bound
        self._number = 0

    def write(self, message: Payload, step: int = 0) -> None:
        """Append one message, of any length. step: at most 65,535; a reader gets it back."""
        view = memoryview(message)
        for start in range(0, max(1, len(view)), SEGMENT_BYTES):
            end = start + SEGMENT_BYTES
            self._seal(view[start:end], step, _MESSAGE_ENDS if end >= len(view) else 0)

    def close(self) -> None:
        """Say that no message follows. The file itself stays open."""
        self._seal(b"", 0, _FILE_ENDS)

    def _seal(self, part: Payload, step: int, flags: int) -> None:
        header = _HEADER.pack(len(part) + _TAG_BYTES, step, flags)
        sealed = self._aead.encrypt(_nonce(self._number), part, self._bound + header)
        self._file.write(header)
        self._file.write(sealed)
        self._number += 1
        self.size_bytes += len(header) + len(sealed)


class SegmentReader:
    """Reads what a `SegmentWriter` wrote. step: of the message that was read last."""

    def __init__(self, file: BinaryIO, key: bytes, bound: bytes) -> None:
        self.step = 0
        self._file = file
        self._aead = AESGCM(key)
        self._bound = bound
        self._number = 0

    def read(self) -> memoryview | None:
        """The next message; None where the writer closed. Raises DamagedFile for anything that was not written so."""
        parts: list[bytes] = []
        while True:
            part, flags = self._open()
            if flags == _FILE_ENDS:
                if parts or part or self._file.read(1):
                    raise DamagedFile(f"segment {self._number - 1} ends the file in the middle")
                return None
            parts.append(part)
            if flags == _MESSAGE_ENDS:
                return memoryview(part if len(parts) == 1 else b"".join(parts))

    def read_into(self, buffer: memoryview) -> None:
        """The next message, written to a buffer of its length. Raises DamagedFile for anything else, as `read`.

        The segments of a large one are read by several threads: each is checked by itself, in its own place.
        """
        starts, at, first = range(0, max(1, len(buffer)), SEGMENT_BYTES), self._file.tell(), self._number
        rooms: queue.SimpleQueue[bytearray] = queue.SimpleQueue()

        def read_one(index: int) -> None:
            part = buffer[starts[index] : starts[index] + SEGMENT_BYTES]
            where = at + index * (_HEADER.size + SEGMENT_BYTES + _TAG_BYTES)
            room = rooms.get()
            try:
                self._open_into(first + index, where, memoryview(room), part, last=index == len(starts) - 1)
            finally:
                rooms.put(room)

        readers = min(_READERS, len(starts))
        for _ in range(readers):
            rooms.put(bytearray(_HEADER.size + min(len(buffer), SEGMENT_BYTES) + _TAG_BYTES))
        if readers == 1:
            read_one(0)
        else:
            with ThreadPoolExecutor(readers, thread_name_prefix="sealed") as pool:
                for _ in pool.map(read_one, range(len(starts))):
                    pass
        self._number += len(starts)
        self._file.seek(at + len(starts) * (_HEADER.size + _TAG_BYTES) + len(buffer))

    def _open_into(self, number: int, where: int, room: memoryview, part: memoryview, *, last: bool) -> None:
        """One segment of a message of known length, at its place in the file. room: for what is read there."""
        sealed = room[: _HEADER.size + len(part) + _TAG_BYTES]
        if os.preadv(self._file.fileno(), [sealed], where) != len(sealed):
            raise DamagedFile(f"it ends before or in segment {number}")
        header = bytes(sealed[: _HEADER.size])
        size, _, flags = _HEADER.unpack(header)
        if size != len(part) + _TAG_BYTES or flags != (_MESSAGE_ENDS if last else 0):
            raise DamagedFile(f"segment {number} is of another message")
        try:
            self._aead.decrypt_into(_nonce(number), sealed[_HEADER.size :], self._bound + header, part)
        except InvalidTag:
            raise DamagedFile(f"segment {number} was changed") from None

    def _open(self) -> tuple[bytes, int]:
        header = self._file.read(_HEADER.size)
        if len(header) != _HEADER.size:
            raise DamagedFile(f"it ends after segment {self._number - 1}")
        size, step, flags = _HEADER.unpack(header)
        if not _TAG_BYTES <= size <= SEGMENT_BYTES + _TAG_BYTES:
            raise DamagedFile(f"segment {self._number} says that it has {size} bytes")
        sealed = self._file.read(size)
        if len(sealed) != size:
            raise DamagedFile(f"it ends in the middle of segment {self._number}")
        try:
            part = self._aead.decrypt(_nonce(self._number), sealed, self._bound + header)
        except InvalidTag:
            raise DamagedFile(f"segment {self._number} was changed") from None
        self._number += 1
        self.step = step
        return part, flags


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
