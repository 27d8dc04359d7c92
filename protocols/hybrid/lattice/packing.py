"""Residues of 60 bits on the wire: two of them in 15 bytes, so that a message's size depends on shapes alone."""

from __future__ import annotations

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array

_BITS = 60
_PAIR_BYTES = 15


def packed_bytes(count: int) -> int:
    """The size of so many residues."""
    return _PAIR_BYTES * -(-count // 2)


def pack(residues: Array) -> bytes:
    """Shapes: uint64 [n], below 2^60 -> `packed_bytes(n)`."""
    if len(residues) % 2:
        residues = np.append(residues, np.uint64(0))
    pairs = residues.reshape(-1, 2)
    words = np.empty((len(pairs), 2), dtype="<u8")
    words[:, 0] = pairs[:, 0] | pairs[:, 1] << np.uint64(_BITS)
    words[:, 1] = pairs[:, 1] >> np.uint64(64 - _BITS)
    return words.view(np.uint8)[:, :_PAIR_BYTES].tobytes()


def unpack(payload: bytes | memoryview, count: int, prime: int) -> Array:
    """Inverse of `pack`. Shapes: -> uint64 [count].

    Raises ProtocolError for a payload of another size, or with a number that is no residue of the prime.
    """
    if len(payload) != packed_bytes(count):
        raise ProtocolError(f"{len(payload)} bytes for {count} residues, due are {packed_bytes(count)}")
    raw = np.zeros((-(-count // 2), 16), dtype=np.uint8)
    raw[:, :_PAIR_BYTES] = np.frombuffer(payload, np.uint8).reshape(-1, _PAIR_BYTES)
    words = raw.view("<u8")
    found = np.empty((len(words), 2), dtype=np.uint64)
    found[:, 0] = words[:, 0] & np.uint64((1 << _BITS) - 1)
    found[:, 1] = words[:, 0] >> np.uint64(_BITS) | words[:, 1] << np.uint64(64 - _BITS)
    residues = found.reshape(-1)[:count]
    if count and int(residues.max()) >= prime:
        raise ProtocolError("a ciphertext that the peer sent has a number that is no residue")
    return residues
