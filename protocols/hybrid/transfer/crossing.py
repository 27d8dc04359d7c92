"""Products of what one party has with what the other one has, in shares, by one exchange for many of them.

The one primitive: a bit c of the *chooser* times a word y of the *owner*. Of a correlated transfer the owner has q and
Δ, the chooser a random bit x and t = q ⊕ x Δ. With H as in `secure.protocols.hybrid.oblivious.hashing`

    the owner sends    m = y ⊕ H(q) ⊕ H(q ⊕ Δ)      and has  H(q)
    the chooser has    H(t) ⊕ x m                   so both XOR to x y,

and it sends d = c ⊕ x: as c y = x y ⊕ d y, the owner adds d y to its share. Nobody waits: both messages go at once, and
the other direction's with them. In Z_2^k the owner sends y - H(q ⊕ Δ) + H(q) and has -H(q), the chooser has H(t) + x m,
and as c y = (1 - 2d) x y + d y, both multiply by 1 - 2d.

*Reveals:* nothing. d is uniform to the owner as x is; m to the chooser, which knows one of both hashes and, Δ being
uniform, nothing of the other one. Each transfer is drawn for one product; the hash's keys are fresh for each exchange
and direction. Both follow the protocol.

Source: Gilboa, Two party RSA key generation, 1999, for products by transfers; Beaver, Precomputing oblivious transfer,
1995, for random bits first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from secure.protocols.core import bits, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.oblivious.hashing import hashed
from secure.protocols.hybrid.oblivious.pool import bits_of
from secure.protocols.hybrid.roles import Maker, as_array, as_tensor, payload

_STARTS = 1
"""The label of the address, in what both parties expand, that keys of hashes come from."""
_WORD = ring.WORD_BITS
MOST_BITS = 2 * _WORD
"""The widest table that a bit is multiplied with: a hash has no more."""

Item = tuple[Array, Array]
"""A shared bit on planes, and a shared table of words, plane by plane. Shapes: uint8 [..., row], [width, ..., row]."""


class Crossing:
    """Exchanges of one gate's making."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._base = maker.shared_stream(_STARTS, 16).tobytes()
        self._exchanges = 0

    @property
    def maker(self) -> Maker:
        """The party whose exchanges these are."""
        return self._maker

    @property
    def index(self) -> int:
        """This party's."""
        return self._maker.index

    def bits(self, items: Sequence[Item]) -> list[Array]:
        """XOR shares of bit times table for each item, from XOR shares of both. Shapes: -> uint8 [width, ..., row]."""
        counts = [8 * bit.size for bit, _ in items]
        labels, zero, starts = self._drawn(sum(counts), sum(counts))
        random = bits_of(labels)
        chosen = np.concatenate([bit.reshape(-1) for bit, _ in items])
        widths = [len(table) for _, table in items]
        mine = _planes(hashed(labels, starts[1 - self.index]), counts, widths)
        own = _planes(hashed(zero, starts[self.index]), counts, widths)
        other = _planes(hashed(zero, starts[self.index], self._maker.sender.delta), counts, widths)
        flat = [table.reshape(len(table), -1) for _, table in items]
        masked = [table ^ first ^ second for table, first, second in zip(flat, own, other, strict=True)]
        message = np.concatenate([chosen ^ random, *(part.reshape(-1) for part in masked)])
        reply = np.frombuffer(self._maker.swap(payload(message), message.nbytes), np.uint8)
        start, place, found = len(chosen), 0, []
        for (bit, table), flat_table, hash_mine, hash_own in zip(items, flat, mine, own, strict=True):
            part = slice(place, place + bit.size)
            theirs = reply[start : start + flat_table.size].reshape(flat_table.shape)
            share = hash_mine ^ (random[part] & theirs) ^ hash_own ^ (reply[part] & flat_table)
            found.append((share ^ (bit.reshape(-1) & flat_table)).reshape(table.shape))
            start, place = start + flat_table.size, part.stop
        return found

    def words(self, chosen: Array, owned: Array, width: int) -> tuple[Array, Array]:
        """Additive shares in Z_2^width: as the chooser, of this party's bits times the other one's words; as the owner,
        of its words times the other one's bits. As many words as the other party has bits.

        Shapes: uint8 [n] of 0 and 1, uint64 [m] -> uint64 [n], [m].
        """
        labels, zero, starts = self._drawn(len(chosen), len(owned))
        random = (labels[:, 0] & np.uint64(1)).astype(np.uint8)
        first = hashed(zero, starts[self.index])[:, 0]
        second = hashed(zero, starts[self.index], self._maker.sender.delta)[:, 0]
        sent = ring.pack(as_tensor(owned - second + first), width).numpy()
        message = np.concatenate([np.packbits(chosen ^ random, bitorder="little"), sent])
        flags = -(-len(owned) // 8)
        due = flags + len(chosen) * ring.element_bytes(width)
        reply = self._maker.swap(payload(message), due)
        theirs = as_array(ring.unpack(reply[flags:], (len(chosen),), width))
        share = hashed(labels, starts[1 - self.index])[:, 0] + random * theirs
        swapped = np.unpackbits(np.frombuffer(reply[:flags], np.uint8), count=len(owned), bitorder="little")
        mine = _signed(share, chosen ^ random)
        return mine, _signed(np.uint64(0) - first, swapped) + swapped * owned

    def start(self, owner: int) -> bytes:
        """The first of the keys of hashes under which nothing else is hashed. Both call this in the same order."""
        self._exchanges += 1
        text = self._base + self._exchanges.to_bytes(4, "little") + bytes([owner])
        return hashlib.sha256(text).digest()[:16]

    def _drawn(self, chosen: int, owned: int) -> tuple[Array, Array, list[bytes]]:
        """Labels as the chooser, zero labels as the owner, and the first keys of hashes by owner."""
        starts = [self.start(owner) for owner in (0, 1)]
        return self._maker.receiver.take(chosen), self._maker.sender.take(owned), starts


def _planes(words: Array, counts: Sequence[int], widths: Sequence[int]) -> list[Array]:
    """The lowest bits of hashes as planes, item by item. Shapes: uint64 [n, 2] -> uint8 [width, count / 8] each."""
    found, start = [], 0
    for count, width in zip(counts, widths, strict=True):
        part = words[start : start + count]
        halves = [min(width, _WORD), width - _WORD]
        planes = [
            bits.to_planes(torch.from_numpy(np.ascontiguousarray(part[:, half]).view(np.int64)), each).numpy()
            for half, each in enumerate(halves)
            if each > 0
        ]
        found.append(np.concatenate(planes))
        start += count
    return found


def _signed(words: Array, negative: Array) -> Array:
    """Words, or their negatives where a bit is set. Shapes: uint64 [n], uint8 [n]."""
    found: Array = np.where(negative.astype(bool), np.uint64(0) - words, words)
    return found


@dataclass(frozen=True)
class Crossed:
    """What exchanges take. transfers: drawn by owner; sent: bytes by who sends them."""

    rounds: int = 0
    transfers: tuple[int, int] = (0, 0)
    sent: tuple[int, int] = (0, 0)

    def __add__(self, other: Crossed) -> Crossed:
        first, second = (a + b for a, b in zip(self.transfers, other.transfers, strict=True))
        sent = self.sent[0] + other.sent[0], self.sent[1] + other.sent[1]
        return Crossed(self.rounds + other.rounds, (first, second), sent)

    @property
    def cost(self) -> Cost:
        """What a gate declares of it."""
        return Cost(self.rounds, p0_bytes=self.sent[0], p1_bytes=self.sent[1])


def crossed_bits(items: Sequence[tuple[int, int]], row: int) -> Crossed:
    """One exchange of `Crossing.bits`: widths of tables, and how many planes have one; a plane has `row` bytes."""
    count = sum(8 * planes * row for _, planes in items)
    sent = sum(planes * row * (1 + width) for width, planes in items)
    return Crossed(1, (count, count), (sent, sent))


def crossed_words(chosen: tuple[int, int], width: int) -> Crossed:
    """One exchange of `Crossing.words`, with the bits that either party chooses."""
    each = ring.element_bytes(width)
    sent = tuple(-(-chosen[i] // 8) + chosen[1 - i] * each for i in (0, 1))
    return Crossed(1, (chosen[1], chosen[0]), (sent[0], sent[1]))
