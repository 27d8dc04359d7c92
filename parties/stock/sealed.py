"""Whole files that a party alone can read again: sealed under a key of their own, which the party's key wraps.

    magic, 12 bytes nonce, 32 bytes key and 16 bytes tag under a derived key of the party's, then segments

A file appears under its name when it is complete and on the disk, or not at all.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secure.parties.stock.segments import KEY_BYTES, SegmentReader, SegmentWriter
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import DamagedFile

UNFINISHED = ".unfinished"
"""How the names of files end that are being written; those of a process that is gone are nobody's."""
_MAGIC = b"secure-inference sealed 1\n"
_NONCE_BYTES = 12
_TAG_BYTES = 16


def wrap(key: bytes, secret: bytes, bound: bytes) -> bytes:
    """A short secret under a key that serves many: a random nonce of 12 bytes, ciphertext and tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, bound)


def unwrap(key: bytes, wrapped: bytes, bound: bytes) -> bytes:
    """Inverse of `wrap`. Raises DamagedFile for another key, another binding, or changed bytes."""
    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise DamagedFile("it was sealed under another key, or for something else, or was changed") from None


class SealedWriter:
    """One sealed file while it is written. It appears at `commit`, in place of what was there, or not at all."""

    def __init__(self, path: Path, key: bytes, bound: bytes) -> None:
        """key: 32 bytes, as `StoreKey.derived` gives them. bound: what a reader has to say again, as what the file is
        for. Raises OSError where the disk fails, as `write` and `commit` do."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.{os.urandom(8).hex()}{UNFINISHED}")
        self._file = os.fdopen(os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        own = os.urandom(KEY_BYTES)
        self._file.write(_MAGIC + wrap(key, own, _MAGIC + bound))
        self._segments = SegmentWriter(self._file, own, _MAGIC + bound)

    def write(self, message: Payload) -> None:
        """Append one message."""
        self._segments.write(message)

    def commit(self) -> None:
        """Have the whole file, and its name, on the disk."""
        self._segments.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `commit`."""
        self._unfinished.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk refuses what was still in the buffer, which nobody wants
            self._file.close()


def write_sealed(path: Path, key: bytes, bound: bytes, messages: Iterable[Payload]) -> None:
    """Write a whole file, as by `SealedWriter`. Raises OSError where the disk fails; nothing is left then."""
    writer = SealedWriter(path, key, bound)
    try:
        for message in messages:
            writer.write(message)
        writer.commit()
    finally:
        writer.discard()


class SealedReader:
    """One sealed file while it is read. All methods raise DamagedFile, with the file's name, and OSError."""

    def __init__(self, path: Path, key: bytes, bound: bytes) -> None:
        """key and bound: as they were said when it was written."""
        self._name = path.name
        file = path.open("rb")
        self.close = weakref.finalize(self, file.close)
        """Let go of the file."""
        with self._damage_named():
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DamagedFile("it is no sealed file")
            own = unwrap(key, file.read(_NONCE_BYTES + KEY_BYTES + _TAG_BYTES), _MAGIC + bound)
        self._segments = SegmentReader(file, own, _MAGIC + bound)

    def read(self) -> memoryview | None:
        """The next message, checked; None when the file has ended as it was written, so that none is missing."""
        with self._damage_named():
            return self._segments.read()

    def read_into(self, buffer: memoryview) -> None:
        """The next message, which has to have a buffer's length, checked and written there."""
        with self._damage_named():
            self._segments.read_into(buffer)

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except DamagedFile as error:
            raise DamagedFile(f"{self._name}: {error}") from None


def read_sealed(path: Path, key: bytes, bound: bytes) -> Iterator[memoryview]:
    """The messages of a sealed file, in order. Raises what `SealedReader` does.

    Each message was checked when it is handed out; that none is missing, when the last one was taken.
    """
    reader = SealedReader(path, key, bound)
    try:
        while (message := reader.read()) is not None:
            yield message
    finally:
        reader.close()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
