"""SEAL's objects as arrays, by the files that it saves and loads, which are in memory and have no name.

Bytes of SEAL 4's files, all little-endian: a header of 16 bytes (magic, size of header, version, 0 or 2 for plain or
zstd, two zeros, size of all), then the body. A ciphertext's body: 32 bytes that name the parameters, whether it is
transformed (1 byte), numbers of polynomials, coefficients and primes (8 bytes each), scale and correction factor (8
bytes each), and an array: a header, the number of words, words. In a seeded one the array has the first polynomial
alone, and behind it is a header, the kind of generator, and 64 bytes of seed. A plaintext's: 32 zeros, number of
coefficients, scale, the array. A test compares this with what SEAL itself makes of such files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import numpy as np

from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.lattice.parameters import SEED_BYTES
from secure.protocols.hybrid.packages import needed

_HEADER_BYTES = 16
_VERSION = bytes.fromhex("5ea11004")  # magic, sixteen bytes of header, major version 4; the minor one follows
_MINOR = 3
_STORED, _ZSTD = 0, 2
_SEED_PART_BYTES = _HEADER_BYTES + 1 + SEED_BYTES
_MOST_BYTES = 1 << 26


class MemoryFile:
    """What SEAL saves to and loads from: a file in memory, without a name in any folder. For one thread."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
        self._path = f"/proc/self/fd/{self._descriptor}"

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def saved(self, save: Callable[[str], object]) -> bytes:
        """The body of what SEAL saves, unpacked. Raises ConfigurationError for a version of SEAL that is not ours."""
        os.ftruncate(self._descriptor, 0)
        save(self._path)
        whole = os.pread(self._descriptor, _MOST_BYTES, 0)
        if not whole.startswith(_VERSION) or len(whole) != struct.unpack("<Q", whole[8:_HEADER_BYTES])[0]:
            raise ConfigurationError("tenseal's SEAL saves files of another version than 4; install tenseal 0.3.15 on")
        body = whole[_HEADER_BYTES:]
        if whole[5] != _ZSTD:
            return body
        unpacked: bytes = needed("zstandard").ZstdDecompressor().decompressobj().decompress(body)
        return unpacked

    def load(self, body: bytes, load: Callable[[str], object]) -> None:
        """Let SEAL load a body. Raises ProtocolError where SEAL refuses it."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, header(len(body)) + body, 0)
        try:
            load(self._path)
        except (RuntimeError, ValueError) as error:
            raise ProtocolError(f"SEAL refuses what the peer sent: {error}") from None


def header(body_bytes: int) -> bytes:
    """What precedes a plain body of so many bytes."""
    return _VERSION + bytes([_MINOR, _STORED, 0, 0]) + struct.pack("<Q", _HEADER_BYTES + body_bytes)


def words_of(body: bytes, count: int) -> tuple[bytes, Array]:
    """What precedes the words of a ciphertext or public key, and the words. Shapes: -> bytes, uint64 [count]."""
    prefix, raw = body[: len(body) - 8 * count], body[len(body) - 8 * count :]
    return prefix, np.frombuffer(raw, "<u8")


def seeded(body: bytes, count: int) -> tuple[bytes, Array, bytes]:
    """What precedes the words of a seeded ciphertext, the words, and what follows, which ends with the seed.

    Raises ConfigurationError where SEAL has put no seed there.
    """
    tail = body[-_SEED_PART_BYTES:]
    if tail[:4] != _VERSION:
        raise ConfigurationError("tenseal's SEAL saves fresh ciphertexts without a seed; install tenseal 0.3.15 on")
    prefix, words = words_of(body[:-_SEED_PART_BYTES], count)
    return prefix, words, tail


def plaintext(values: Array) -> bytes:
    """The body of a plaintext. Shapes: uint64 [n], each below t."""
    inner = struct.pack("<Q", len(values)) + values.astype("<u8").tobytes()
    return bytes(32) + struct.pack("<Qd", len(values), 1.0) + header(len(inner)) + inner


def coefficients(body: bytes, count: int) -> Array:
    """The coefficients of a plaintext that SEAL saved, which leaves out highest ones that are zero.

    Shapes: -> uint64 [count].
    """
    found = np.zeros(count, dtype=np.uint64)
    (saved,) = struct.unpack("<Q", body[32:40])
    if saved:
        found[:saved] = np.frombuffer(body[len(body) - 8 * saved :], "<u8")
    return found
