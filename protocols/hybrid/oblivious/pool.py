"""Transfers in stock while correlations are made: one party has Δ and zero labels, the other one random bits' labels.

A few are extended at 16 bytes each, as `secure.protocols.hybrid.oblivious.extension` does it; where many are wanted,
those that are there become more, silently. Which comes when follows from how many were drawn so far, so both parties,
and whoever counts costs on shapes, know it: `Supply`. Lowest bits of zero labels are cleared, and a label's lowest bit
at the receiver is its bit. What is drawn is gone.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled.engine import add_offsets
from secure.protocols.hybrid.oblivious import extension
from secure.protocols.hybrid.oblivious.extension import STEP, CorrelatedReceiver, CorrelatedSender
from secure.protocols.hybrid.oblivious.silent import LARGE, SMALL, Noise, SilentReceiver, SilentSender

FEW = 1 << 17
"""Transfers of a making that are extended: 2.1 MB, and the first silent turn takes 2.0 MB with what it starts from."""
_SEVERAL = 2
"""Turns after which larger ones follow."""


@dataclass(frozen=True)
class Extended:
    """So many transfers by extension, a multiple of 64."""

    made: int
    taken: int = 0


Refill = Extended | Noise
"""How transfers come about; a `Noise` is a silent turn."""


class Supply:
    """How many transfers of one direction are there, and what comes when more are wanted."""

    def __init__(self) -> None:
        self._left = 0
        self._drawn = 0
        self._turns = 0

    def draw(self, count: int) -> list[Refill]:
        """What is to be done before so many are drawn, which they are then. A silent turn leaves what the next takes.

        Both parties must call this for the same counts in the same order.
        """
        due: list[Refill] = []
        self._drawn += count
        if self._drawn <= FEW and not self._turns:
            if self._left < count:
                self._add(due, Extended(padded(count - self._left)))
        else:
            while self._left - count < SMALL.taken:
                if self._left < SMALL.taken:
                    self._add(due, Extended(padded(SMALL.taken - self._left)))
                large = self._turns >= _SEVERAL or count > _SEVERAL * SMALL.made
                if large and self._left < LARGE.taken:
                    self._turn(due, SMALL)
                self._turn(due, LARGE if large else SMALL)
        self._left -= count
        return due

    def _turn(self, due: list[Refill], noise: Noise) -> None:
        self._turns += 1
        self._add(due, noise)

    def _add(self, due: list[Refill], refill: Refill) -> None:
        self._left += refill.made - refill.taken
        due.append(refill)


class _Labels:
    """Labels that were not drawn yet."""

    def __init__(self) -> None:
        self._rows = np.empty((0, 2), np.uint64)
        self._first = 0

    def put(self, rows: Array) -> None:
        self._rows = np.concatenate([self._rows[self._first :], rows])
        self._first = 0

    def take(self, count: int) -> Array:
        """Raises ProtocolError where so many are not there."""
        first, self._first = self._first, self._first + count
        if self._first > len(self._rows):
            raise ProtocolError(f"{count} oblivious transfers were drawn, {len(self._rows) - first} were there")
        return self._rows[first : self._first]


class TransferSender:
    """The side with Δ. For one thread."""

    def __init__(self, delta: Array, keys: list[bytes]) -> None:
        """keys: of 128 base transfers those that the bits of Δ chose."""
        self.delta = delta
        self._extension = CorrelatedSender(delta, keys)
        self._silent = SilentSender(delta)
        self._labels = _Labels()

    def extended(self, message: memoryview, count: int) -> None:
        """More transfers, from the receiver's message."""
        rows = self._extension.extend(message, count)
        rows[:, 0] &= ~np.uint64(1)
        self._labels.put(rows)

    def turn(self, noise: Noise, asked: memoryview) -> bytes:
        """A silent turn: what is to be answered."""
        answer, rows = self._silent.turn(noise, self._labels.take(noise.taken), asked)
        self._labels.put(rows)
        return answer

    def take(self, count: int) -> Array:
        """Zero labels of transfers with random bits. Shapes: -> uint64 [count, 2]."""
        return self._labels.take(count)

    def extend(self, message: memoryview, count: int) -> Array:
        """Zero labels of transfers with chosen bits, from the receiver's message. Shapes: -> uint64 [count, 2].

        Raises ProtocolError for a message of another size.
        """
        if len(message) != message_bytes(count):
            raise ProtocolError(f"a message of {len(message)} bytes for {count} oblivious transfers")
        rows = self.take(count).copy()
        add_offsets(rows.reshape(1, -1), np.frombuffer(message, np.uint8).reshape(1, -1), self.delta)
        return rows


class TransferReceiver:
    """The side with the bits. For one thread."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """pairs: both keys of 128 base transfers."""
        self._extension = CorrelatedReceiver(pairs)
        self._silent = SilentReceiver()
        self._labels = _Labels()
        self._asked: tuple[Array, Array] | None = None

    def extended(self, count: int) -> Array:
        """More transfers, and what is to be sent for them. Shapes: -> uint8 [128, count / 8]."""
        choices = np.frombuffer(secrets.token_bytes(count // 8), np.uint8)
        message, rows = self._extension.extend(choices)
        rows[:, 0] &= ~np.uint64(1)
        rows[:, 0] |= np.unpackbits(choices, bitorder="little")
        self._labels.put(rows)
        return message

    def ask(self, noise: Noise) -> bytes:
        """The first message of a silent turn."""
        taken = self._labels.take(noise.taken)
        message, path = self._silent.ask(noise, taken)
        self._asked = taken, path
        return message

    def answered(self, noise: Noise, answer: memoryview) -> None:
        """The end of a silent turn. Raises ProtocolError where none was asked for."""
        if self._asked is None:
            raise ProtocolError("a turn of silent transfers is answered that was not asked for")
        (taken, path), self._asked = self._asked, None
        self._labels.put(self._silent.finish(noise, taken, path, answer))

    def take(self, count: int) -> Array:
        """Labels of random bits, which are their lowest ones. Shapes: -> uint64 [count, 2]."""
        return self._labels.take(count)

    def extend(self, choices: Array) -> tuple[Array, Array]:
        """What is to be sent, and labels of chosen bits, eight of which lie in a byte: a label's lowest bit is random.

        Shapes: uint8 [n / 8] -> uint8 [n / 8], uint64 [n, 2].
        """
        rows = self.take(8 * len(choices))
        return choices ^ bits_of(rows), rows


def bits_of(rows: Array) -> Array:
    """Lowest bits of labels, eight to a byte. Shapes: uint64 [n, 2] -> uint8 [ceil(n / 8)]."""
    packed: Array = np.packbits((rows[:, 0] & np.uint64(1)).astype(np.uint8), bitorder="little")
    return packed


def message_bytes(count: int) -> int:
    """The size of the receiver's message where it chooses bits: one for each."""
    return count // 8


def padded(count: int) -> int:
    """How many transfers are made where so many are wanted."""
    return count + -count % STEP


def extended_bytes(count: int) -> int:
    """The size of the receiver's message where transfers are extended."""
    return extension.message_bytes(count)
