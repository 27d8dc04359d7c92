"""Numbers of one party times rows of words of the other one, in shares: what products of two secrets take.

A number u of k bits is the sum of its bits times 2^b, so u y is one product of a bit and a word for each bit, of which
the words y 2^b vanish above k - b bits: shares in Z_2^(k-b), shifted by b. Each bit chooses of a whole row of words at
once: its transfer's hash is made as long, by further runs of keys. As in `crossing`, the bits are random first:

    the owner of rows sends    m = y - H(q ⊕ Δ) + H(q)      and has  (1 - 2d) (-H(q)) + d y
    the other one sends        d = bit ⊕ x                   and has  (1 - 2d) (H(t) + x m)

for each row and bit, in one exchange, or in several where there are many words. A short signed number of m bits takes
its m bits alone, the highest one times -2^(m-1). Cost: with n numbers of m bits, m n transfers in which the owner has
Δ; the other one sends m n bits, the owner for each number and each word of its row ceil((k-m+1)/8) + ... + ceil(k/8)
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from secure.protocols.core import ring
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.oblivious.hashing import hashed
from secure.protocols.hybrid.oblivious.pool import bits_of
from secure.protocols.hybrid.roles import as_array, as_tensor, payload
from secure.protocols.hybrid.transfer.crossing import Crossed, Crossing

_LABEL_WORDS = 2
_MOST_WORDS = 1 << 22
"""Words that are hashed, and sent, at once: 32 MB. More numbers take more exchanges."""


@dataclass(frozen=True)
class RowProducts:
    """count numbers, each of which is multiplied with a row of `length` words, all in Z_2^width.

    bits: of numbers that are signed and so short, -2^(bits-1) <= u < 2^(bits-1); None for any in the ring.
    owner: who has the rows; the other party has the numbers.
    """

    count: int
    length: int
    width: int
    bits: int | None = None
    owner: int = 1

    @property
    def _bits(self) -> int:
        """How many bits of a number are multiplied."""
        return self.width if self.bits is None else self.bits

    @property
    def _word_bytes(self) -> int:
        """What the owner sends for a number and a word of its row."""
        return sum(ring.element_bytes(self.width - b) for b in range(self._bits))

    @property
    def _parts(self) -> list[RowProducts]:
        """Parts of which each has few enough words to be held, and sent, at once."""
        most = max(1, _MOST_WORDS // (self._bits * self.length))
        return [replace(self, count=min(most, self.count - start)) for start in range(0, self.count, most)]

    def crossed(self) -> Crossed:
        """What it takes."""
        return sum((part._crossed for part in self._parts), Crossed())

    @property
    def _crossed(self) -> Crossed:
        flags, words, drawn = self._sizes
        return Crossed(1, (0, drawn), (flags, words)) if self.owner == 1 else Crossed(1, (drawn, 0), (words, flags))

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Bytes of bits and of words that are sent, and transfers that are drawn."""
        drawn = self._bits * self.count
        return -(-drawn // 8), self.count * self.length * self._word_bytes, drawn

    def cross(self, crossing: Crossing, own: Array) -> Array:
        """A share, from rows at their owner and numbers at the other party, in that shape.

        Shapes: uint64 [count, length] or [count] -> [count, length].
        """
        found, start = [], 0
        for part in self._parts:
            given = own[start : start + part.count]
            start += part.count
            found.append(
                part._of_rows(crossing, given) if crossing.index == self.owner else part._of_numbers(crossing, given)
            )
        return np.concatenate(found)

    def _of_numbers(self, crossing: Crossing, numbers: Array) -> Array:
        """The share of who has the numbers. Shapes: uint64 [count] -> [count, length]."""
        labels = crossing.maker.receiver.take(self._bits * self.count)
        places = np.arange(self._bits, dtype=np.uint64)[:, None]
        chosen = ((numbers >> places) & np.uint64(1)).astype(np.uint8)
        random = (labels[:, 0] & np.uint64(1)).reshape(self._bits, -1)
        flags = np.packbits(chosen, bitorder="little") ^ bits_of(labels)
        message = crossing.maker.swap(payload(flags), self._sizes[1])
        swapped = chosen.astype(bool) ^ random.astype(bool)
        pads = self._hashed(labels, [crossing.start(self.owner) for _ in range(self._hashes)], None)
        total, start = np.zeros((self.count, self.length), np.uint64), 0
        for b in range(self._bits):
            size = self.count * self.length * ring.element_bytes(self.width - b)
            words = ring.unpack(message[start : start + size], (self.count, self.length), self.width - b)
            share = pads[b] + random[b][:, None] * as_array(words)
            total += self._times_place(np.where(swapped[b][:, None], np.uint64(0) - share, share), b)
            start += size
        return total

    def _of_rows(self, crossing: Crossing, rows: Array) -> Array:
        """The share of who has the rows. Shapes: uint64 [count, length] -> same."""
        zero = crossing.maker.sender.take(self._bits * self.count)
        starts = [crossing.start(self.owner) for _ in range(self._hashes)]
        first = self._hashed(zero, starts, None)
        second = self._hashed(zero, starts, crossing.maker.sender.delta)
        parts = [
            ring.pack(as_tensor(rows - second[b] + first[b]), self.width - b).numpy().reshape(-1)
            for b in range(self._bits)
        ]
        message = np.concatenate(parts)
        reply = crossing.maker.swap(payload(message), self._sizes[0])
        flags = np.unpackbits(np.frombuffer(reply, np.uint8), count=self._bits * self.count, bitorder="little")
        swapped, total = flags.reshape(self._bits, -1).astype(bool), np.zeros_like(rows)
        for b in range(self._bits):
            share = np.where(swapped[b][:, None], first[b] + rows, np.uint64(0) - first[b])
            total += self._times_place(share, b)
        return total

    def _times_place(self, share: Array, b: int) -> Array:
        """What bit b of a number stands for."""
        placed: Array = share << np.uint64(b)
        return np.uint64(0) - placed if self.bits is not None and b == self.bits - 1 else placed

    @property
    def _hashes(self) -> int:
        """How many hashes of a label are as long as a row."""
        return -(-self.length // _LABEL_WORDS)

    def _hashed(self, labels: Array, starts: list[bytes], offset: Array | None) -> Array:
        """Words of hashes, as many as a row has. Shapes: uint64 [bits count, 2] -> [bits, count, length]."""
        found = np.empty((len(labels), _LABEL_WORDS * self._hashes), np.uint64)
        for i, start in enumerate(starts):
            found[:, _LABEL_WORDS * i : _LABEL_WORDS * (i + 1)] = hashed(labels, start, offset)
        return np.ascontiguousarray(found[:, : self.length]).reshape(self._bits, self.count, self.length)
