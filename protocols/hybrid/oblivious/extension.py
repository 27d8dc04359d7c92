"""Correlated oblivious transfers by the million from 128 base transfers, with the garbler's offset as the correlation.

The sender, who garbles, has Δ and gets zero labels q_j; the receiver has bits c_j and gets t_j = q_j ⊕ c_j Δ: labels of
its bits as they are, with no message from the sender and no hash. Base transfers ran the other way: of column i the
receiver has two keys, the sender the one that bit i of Δ chooses. With G a stream under a key:

    receiver   t^i = G(k_i^0),  sends  u^i = G(k_i^0) ⊕ G(k_i^1) ⊕ c
    sender     q^i = G(k_i^{Δ_i}) ⊕ Δ_i u^i,     so  q^i = t^i ⊕ Δ_i c

and rows are what columns are when transposed. 16 bytes for each transfer, one way. Every extension has streams of its
own: its number is their nonce. Against parties that follow the protocol.

Source: Ishai, Kilian, Nissim, Petrank, Extending oblivious transfers efficiently, 2003.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from secure.protocols.core.aes import NONCE_BYTES, counter_mode
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, compiled

WIDTH = 128
"""Columns: bits of a label, and base transfers."""
STEP = 64
"""Transfers come in multiples of this: they are transposed in squares of 64 bits."""


def draw_offset() -> Array:
    """A fresh Δ, uniform but for its lowest bit, which is one. Shapes: uint64 [2]."""
    return np.frombuffer(secrets.token_bytes(WIDTH // 8), np.uint64) | np.array([1, 0], np.uint64)


def offset_bits(delta: Array) -> list[int]:
    """The choices of the base transfers. Shapes: uint64 [2] -> 128 bits, lowest first."""
    bits: list[int] = np.unpackbits(delta.view(np.uint8), bitorder="little").tolist()
    return bits


class _Streams:
    """One stream for each column and extension."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if len(keys) != WIDTH:
            raise ProtocolError(f"{len(keys)} base transfers; an extension takes {WIDTH}")
        self._columns = [counter_mode(key) for key in keys]

    def columns(self, number: int, count: int) -> Array:
        """The first bits of extension `number`. Shapes: uint8 [128, count / 8]."""
        found, nonce = np.empty((WIDTH, count // 8), np.uint8), number.to_bytes(NONCE_BYTES, "big")
        for column, stream in zip(found, self._columns, strict=True):
            stream.fill(nonce, column)
        return found


class CorrelatedReceiver:
    """The side with the bits. For one thread."""

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """pairs: both keys of 128 base transfers."""
        self._first = _Streams([first for first, _ in pairs])
        self._second = _Streams([second for _, second in pairs])
        self._done = 0

    def extend(self, choices: Array) -> tuple[Array, Array]:
        """What is to be sent, and the labels of the bits, eight of which lie in a byte, lowest first.

        Shapes: uint8 [n / 8] -> uint8 [128, n / 8], uint64 [n, 2]. Raises ProtocolError where n is no multiple of 64.
        """
        count = _checked(8 * len(choices))
        columns = self._first.columns(self._done, count)
        message = self._second.columns(self._done, count)
        message ^= columns
        message ^= choices
        self._done += 1
        return message, _transposed(columns)


class CorrelatedSender:
    """The side with Δ. For one thread."""

    def __init__(self, delta: Array, keys: Sequence[bytes]) -> None:
        """keys: of 128 base transfers those that the bits of Δ chose."""
        self._streams = _Streams(keys)
        self._chosen = np.array(offset_bits(delta), dtype=bool)
        self._done = 0

    def extend(self, message: memoryview, count: int) -> Array:
        """Zero labels. Shapes: `count` transfers, 16 bytes for each -> uint64 [count, 2].

        Raises ProtocolError for a message of another size.
        """
        if len(message) != message_bytes(_checked(count)):
            raise ProtocolError(f"a message of {len(message)} bytes for {count} oblivious transfers")
        columns = self._streams.columns(self._done, count)
        columns[self._chosen] ^= np.frombuffer(message, np.uint8).reshape(WIDTH, -1)[self._chosen]
        self._done += 1
        return _transposed(columns)


def message_bytes(count: int) -> int:
    """The size of the receiver's message."""
    return WIDTH * count // 8


def padded(count: int) -> int:
    """How many transfers are made where so many are wanted."""
    return count + -count % STEP


def _checked(count: int) -> int:
    if count % STEP:
        raise ProtocolError(f"{count} oblivious transfers; they come in multiples of {STEP}")
    return count


def _transposed(columns: Array) -> Array:
    """Shapes: uint8 [128, n / 8] -> uint64 [n, 2]."""
    rows = np.empty((8 * columns.shape[1], 2), np.uint64)
    compiled(_transpose)(columns.view(np.uint64), rows)
    return rows


def _transpose(columns: Array, rows: Array) -> None:
    """Squares of 64 x 64 bits, by halves that change places. Shapes: uint64 [128, n / 64], [n, 2]."""
    block = np.empty(64, np.uint64)
    for j in range(columns.shape[1]):
        for half in range(2):
            for i in range(64):
                block[i] = columns[64 * half + i, j]
            width, mask = 32, np.uint64(0x00000000FFFFFFFF)
            while width:
                k = 0
                while k < 64:
                    x = ((block[k] >> np.uint64(width)) ^ block[k + width]) & mask
                    block[k] ^= x << np.uint64(width)
                    block[k + width] ^= x
                    k = ((k + width + 1) & ~width) if (k + 1) & width else k + 1
                width >>= 1
                mask ^= mask << np.uint64(width)
            for i in range(64):
                rows[64 * j + i, half] = block[i]
