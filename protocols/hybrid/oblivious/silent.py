"""Correlated transfers by the million from some that are there: nearly all of them without a message.

The sender has Δ, whose lowest bit is one, and labels q_j whose lowest bits are zero; the receiver has t_j = q_j ⊕ c_j Δ
with uniform bits c_j, which are the lowest bits of t_j. A *turn* uses up k + T h such transfers and gives n = T 2^h:

1. *Trees.* The sender grows T binary trees of depth h from fresh roots, a node's children being AES_0(x) ⊕ x and
   AES_1(x) ⊕ x under two keys that both know. The receiver draws a leaf a of each. At every level it gets, by one
   transfer, the sum of the nodes on that side which the way to a does not take: so it finds all leaves but a, and
   nothing of a. Of leaves v, with their lowest bits cleared, the sender sends the sum of a tree's ⊕ Δ: so the receiver
   has w = v ⊕ u Δ, where u is one at a and zero elsewhere.
2. *Codes.* With A a matrix [n, k] of ten ones in each row, drawn from a seed that the sender sends, and the first k
   transfers' q, t and x:   (A t ⊕ w) = (A q ⊕ v) ⊕ (A x ⊕ u) Δ.

*What this rests on.* Both follow the protocol. (a) The receiver's bits A x ⊕ u are uniform to the sender as far as LPN
with the matrix A, a uniform secret x of k bits and *regular* noise u, one in each of T blocks of 2^h, is hard: all that
the sender is sent are bits x_j ⊕ (side) under bits x_j of transfers that serve nothing else. (b) The sender's labels
are uniform to the receiver but for Δ as far as the doubling of nodes is a generator, and the pads H(q ⊕ b Δ) of sums
hide the one that was not chosen, H being correlation robust with AES as an ideal cipher, under a key for 1024 labels.
Neither holds for one that deviates: no check of consistency is made here.
(c) No transfer serves twice: those that a turn takes are gone, and roots, leaves and seed are fresh in each.

*Parameters.* `LARGE` and `SMALL` have the shape of those of Ferret's authors (k = 589,824, T = 1295, h = 13 and k =
36,288, T = 1269, h = 9 in their program, emp-ot) with longer secrets. `tests/protocols/hybrid/oblivious/hardness.py`
counts what the known attacks take at least: pooled Gaussian elimination, decoding with information sets and lists, and
the algebraic attack on regular noise. It finds 2^138 and more bit operations for both, and less for theirs.

Source: Yang, Weng, Lan, Zhang, Wang, Ferret, 2020 (eprint 2020/924); the attack on regular noise: Briaud, Øygarden, A
new algebraic approach to the regular syndrome decoding problem, 2023.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secure.protocols.core.aes import NONCE_BYTES, counter_mode
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.hybrid.ciphers import KeyedPermutation, expanded, key
from secure.protocols.hybrid.oblivious import kernels
from secure.protocols.hybrid.oblivious.hashing import hashed
from secure.protocols.hybrid.vectors import Form, fastest

LABEL_BYTES = 16
WEIGHT = 10
"""Ones in a row of the matrix."""
_BLOCK = 1 << 14  # rows whose places are drawn in one go: they stay in the second-level cache
_PADS, _NODES, _PLACES = 1, 2, 3


@dataclass(frozen=True)
class Noise:
    """The shape of a turn. secret: k, trees: T, depth: h."""

    secret: int
    trees: int
    depth: int

    @property
    def taken(self) -> int:
        """Transfers that a turn uses up."""
        return self.secret + self.levels

    @property
    def levels(self) -> int:
        """Levels of all trees together."""
        return self.trees * self.depth

    @property
    def made(self) -> int:
        """Transfers that it gives."""
        return self.trees << self.depth

    @property
    def asked_bytes(self) -> int:
        """What the receiver sends: a bit for each level."""
        return -(-self.levels // 8)

    @property
    def answered_bytes(self) -> int:
        """What the sender sends: a seed, two sums for each level and one for each tree."""
        return SEED_BYTES + LABEL_BYTES * (2 * self.levels + self.trees)


SMALL = Noise(secret=90_112, trees=768, depth=10)
LARGE = Noise(secret=655_360, trees=1024, depth=13)


class SilentSender:
    """The side with Δ."""

    def __init__(self, delta: Array, form: Form | str | None = "fastest") -> None:
        self._delta = delta
        self._form = fastest() if isinstance(form, str) else form

    def turn(self, noise: Noise, q: Array, asked: memoryview) -> tuple[bytes, Array]:
        """What is to be sent, and new labels. Shapes: uint64 [taken, 2], bytes -> bytes, uint64 [made, 2].

        Raises ProtocolError for a message of another size.
        """
        if len(asked) != noise.asked_bytes:
            raise ProtocolError(f"{len(asked)} bytes ask for a turn of silent transfers, due are {noise.asked_bytes}")
        seed, table, labels = secrets.token_bytes(SEED_BYTES), q[: noise.secret], q[noise.secret : noise.taken]
        swapped = np.unpackbits(np.frombuffer(asked, np.uint8), count=noise.levels, bitorder="little")
        roots = np.frombuffer(secrets.token_bytes(LABEL_BYTES * noise.trees), np.uint64).reshape(-1, 2)
        leaves, sums = self._grown(noise, roots, seed)
        pads = np.stack([hashed(labels, _start(seed, _PADS), offset, self._form) for offset in (None, self._delta)])
        pads = np.where(swapped[:, None].astype(bool), pads[::-1], pads)
        message = sums.reshape(noise.levels, 2, 2) ^ pads.transpose(1, 0, 2)
        ends = np.empty((noise.trees, 2), np.uint64)
        compiled(kernels.close_trees)(leaves.reshape(noise.trees, -1, 2), ends)
        _encode(noise, seed, table, leaves)
        return seed + message.tobytes() + (ends ^ self._delta).tobytes(), leaves

    def _grown(self, noise: Noise, roots: Array, seed: bytes) -> tuple[Array, Array]:
        """Leaves, and sums by level and side. Shapes: uint64 [trees, 2] -> [made, 2], [trees, depth, 2, 2]."""
        sums = np.empty((noise.trees, noise.depth, 2, 2), np.uint64)
        if self._form is None:
            nodes = roots[:, None]
            for level in range(noise.depth):
                nodes = _doubled(nodes, _start(seed, _NODES))
                for side, half in enumerate(np.split(nodes, 2, axis=1)):
                    sums[:, level, side] = np.bitwise_xor.reduce(half, axis=1)
            return np.ascontiguousarray(nodes).reshape(-1, 2), sums
        leaves = np.empty((noise.made, 2), np.uint64)
        keys = expanded(_start(seed, _NODES), 2)
        compiled(kernels.grow)(self._form, noise.depth, roots, keys, leaves.reshape(-1), sums)
        return leaves, sums


class SilentReceiver:
    """The side with the bits."""

    def __init__(self, form: Form | str | None = "fastest") -> None:
        self._form = fastest() if isinstance(form, str) else form

    def ask(self, noise: Noise, t: Array) -> tuple[bytes, Array]:
        """What is to be sent first, and the ways to secret leaves. Shapes: uint64 [taken, 2] -> uint8 [trees, depth].

        At each level that side's sum is chosen which the way does not take.
        """
        drawn = np.frombuffer(secrets.token_bytes(noise.asked_bytes), np.uint8)
        path = np.unpackbits(drawn, count=noise.levels, bitorder="little")
        mine = (t[noise.secret : noise.taken, 0] & np.uint64(1)).astype(np.uint8)
        return np.packbits(mine ^ path ^ 1, bitorder="little").tobytes(), path.reshape(noise.trees, noise.depth)

    def finish(self, noise: Noise, t: Array, path: Array, answer: memoryview) -> Array:
        """New labels, of which the lowest bits are this side's. Shapes: uint64 [taken, 2], ... -> uint64 [made, 2].

        Raises ProtocolError for a message of another size.
        """
        if len(answer) != noise.answered_bytes:
            raise ProtocolError(
                f"{len(answer)} bytes answer a turn of silent transfers, due are {noise.answered_bytes}"
            )
        seed, words = bytes(answer[:SEED_BYTES]), np.frombuffer(answer[SEED_BYTES:], np.uint64).reshape(-1, 2)
        sums, ends = words[: 2 * noise.levels].reshape(-1, 2, 2), words[2 * noise.levels :]
        table, labels = t[: noise.secret], t[noise.secret : noise.taken]
        chosen = sums[np.arange(noise.levels), 1 - path.reshape(-1).astype(np.int64)]
        siblings = chosen ^ hashed(labels, _start(seed, _PADS), form=self._form)
        leaves = self._grown(noise, path, siblings.reshape(noise.trees, noise.depth, 2), seed)
        trees, totals = leaves.reshape(noise.trees, -1, 2), np.empty((noise.trees, 2), np.uint64)
        compiled(kernels.close_trees)(trees, totals)
        secret_leaf = path.astype(np.int64) @ (1 << np.arange(noise.depth))
        trees[np.arange(noise.trees), secret_leaf] = ends ^ totals
        _encode(noise, seed, table, leaves)
        return leaves

    def _grown(self, noise: Noise, path: Array, siblings: Array, seed: bytes) -> Array:
        """All leaves but those at the paths' ends, which are zero. Shapes: as in `grow_but_one` -> uint64 [made, 2]."""
        if self._form is None:
            nodes, at, rows = (
                np.zeros((noise.trees, 1, 2), np.uint64),
                np.zeros(noise.trees, np.int64),
                range(noise.trees),
            )
            for level in range(noise.depth):
                width, side = nodes.shape[1], 1 - path[:, level].astype(np.int64)
                nodes = _doubled(nodes, _start(seed, _NODES))
                nodes[rows, at] = nodes[rows, at + width] = 0
                halves = np.stack([np.bitwise_xor.reduce(half, axis=1) for half in np.split(nodes, 2, axis=1)])
                nodes[rows, at + side * width] = siblings[:, level] ^ halves[side, rows]
                at = at + (1 - side) * width
            return np.ascontiguousarray(nodes).reshape(-1, 2)
        leaves = np.empty((noise.made, 2), np.uint64)
        keys = expanded(_start(seed, _NODES), 2)
        compiled(kernels.grow_but_one)(self._form, noise.depth, path, siblings, keys, leaves.reshape(-1))
        return leaves


def _start(seed: bytes, use: int) -> bytes:
    """Where a use's run of keys starts: runs are shorter than 2^32 keys, and uses lie in the highest byte."""
    return seed[:-1] + bytes([seed[-1] ^ use])


def _doubled(nodes: Array, start: bytes) -> Array:
    """Both children of every node, all left ones first. Shapes: uint64 [trees, m, 2] -> [trees, 2 m, 2]."""
    flat = np.ascontiguousarray(nodes).reshape(-1, 2)
    sides = [(KeyedPermutation(key(start, side))(flat) ^ flat).reshape(nodes.shape) for side in (0, 1)]
    return np.concatenate(sides, axis=1)


def _encode(noise: Noise, seed: bytes, table: Array, out: Array) -> None:
    """out ⊕= A table. Shapes: uint64 [k, 2], [made, 2]."""
    table = np.ascontiguousarray(table)
    for part, places in zip(range(0, noise.made, _BLOCK), _places(noise, seed), strict=True):
        compiled(kernels.add_rows)(table, places, out[part : part + _BLOCK])


def _places(noise: Noise, seed: bytes) -> Iterator[Array]:
    """Where rows of A have their ones, block by block, before they are scaled. Shapes: uint32 [rows, 10] each."""
    stream = counter_mode(_start(seed, _PLACES))
    for number, first in enumerate(range(0, noise.made, _BLOCK)):
        found = np.empty((min(_BLOCK, noise.made - first), WEIGHT), np.uint32)
        stream.fill(number.to_bytes(NONCE_BYTES, "big"), found.view(np.uint8).reshape(-1))
        yield found
