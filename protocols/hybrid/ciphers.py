"""AES-128 under many keys that are no secrets: a run of keys starts at 16 bytes S, and key i is S ⊕ i.

Loops take expanded keys; what has no such loops takes OpenSSL, one key at a time, and gives the same bytes.
"""

from __future__ import annotations

import functools

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.hybrid.vectors import SCHEDULE_WORDS


def key(start: bytes, number: int) -> bytes:
    """One key of a run."""
    return (int.from_bytes(start, "little") ^ number).to_bytes(16, "little")


def schedules(start: bytes, room: Array) -> Array:
    """The first keys of a run, expanded, in the memory of `room`. Shapes: uint8 [keys, 176] -> uint64 [keys, 22]."""
    compiled(expand_keys)(np.frombuffer(start, np.uint8), _substitution(), room)
    return room.view(np.uint64)


def expanded(start: bytes, count: int) -> Array:
    """What `schedules` gives, in memory of its own. Shapes: -> uint64 [count, 22]."""
    return schedules(start, np.empty((count, 8 * SCHEDULE_WORDS), dtype=np.uint8))


class KeyedPermutation:
    """One key's permutation of blocks, by OpenSSL."""

    def __init__(self, key: bytes) -> None:
        # One block under each key and no chaining: AES is the permutation that hash and generator are made of.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())

    def __call__(self, x: Array) -> Array:
        """Shapes: uint64 [n, 2] -> same."""
        found: Array = np.frombuffer(self._cipher.encryptor().update(x.tobytes()), np.uint64).reshape(-1, 2)
        return found


class Hash:
    """H_k(x) = AES_k(σ(x)) ⊕ σ(x), σ(L‖R) = (L ⊕ R)‖L, of labels whose low word is R."""

    def __init__(self, key: bytes) -> None:
        self._permutation = KeyedPermutation(key)

    def __call__(self, x: Array) -> Array:
        mixed = np.stack([x[:, 1], x[:, 0] ^ x[:, 1]], axis=1)
        found: Array = self._permutation(mixed) ^ mixed
        return found


def expand_keys(start: Array, box: Array, schedules: Array) -> None:
    """Schedules of the keys start ⊕ 0, start ⊕ 1, ... Shapes: uint8 [16], [256]: AES's S-box, [keys, 176]."""
    for number in range(schedules.shape[0]):
        key = schedules[number]
        for i in range(16):
            key[i] = start[i] ^ ((number >> 8 * i) & 255) if i < 4 else start[i]
        constant = 1
        for i in range(16, 176, 4):
            if i % 16 == 0:
                key[i] = key[i - 16] ^ box[key[i - 3]] ^ constant
                key[i + 1] = key[i - 15] ^ box[key[i - 2]]
                key[i + 2] = key[i - 14] ^ box[key[i - 1]]
                key[i + 3] = key[i - 13] ^ box[key[i - 4]]
                constant = (constant << 1) ^ (0x11B if constant & 128 else 0)
            else:
                for j in range(4):
                    key[i + j] = key[i + j - 16] ^ key[i + j - 4]


@functools.cache
def _substitution() -> Array:
    """AES's S-box: the inverse in GF(2^8), and an affine map of it. FIPS 197. Shapes: uint8 [256]."""
    box = np.empty(256, dtype=np.uint8)
    box[0] = 0x63
    p = q = 1
    while True:
        p ^= (p << 1) & 0xFF ^ (0x1B if p & 0x80 else 0)  # times three, a generator
        for shift in (1, 2, 4):  # divided by three
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        doubled = q | q << 8
        box[p] = (q ^ doubled >> 7 ^ doubled >> 6 ^ doubled >> 5 ^ doubled >> 4) & 0xFF ^ 0x63
        if p == 1:
            return box
