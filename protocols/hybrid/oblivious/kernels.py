"""Loops of silent transfers and of hashed labels, on the vectors of labels of `secure.protocols.hybrid.vectors`.

A tree's nodes lie in one array, level after level in place: node i of a level with m nodes has its children at i and at
i + m. So the side that is taken at level l is bit l of a leaf's number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.vectors import I64, Form, Vectors, emitted

RUN = 1024
"""Labels that are hashed under one key."""


@intrinsic
def double_nodes(typing: Any, form: Any, nodes: Any, keys: Any, left: Any, right: Any) -> Any:
    """One vector of nodes x becomes AES_0(x) ⊕ x, in place, and AES_1(x) ⊕ x from word `right` on."""

    def generate(v: Vectors) -> None:
        x = v.load(1, v.number(3))
        schedules = [v.schedule(2, ir.Constant(I64, side)) for side in (0, 1)]
        first, second = v.encrypted(schedules, [x, x])
        v.store(1, v.number(3), v.builder.xor(first, x))
        v.store(1, v.number(4), v.builder.xor(second, x))

    return emitted(generate, form, nodes, keys, left, right)


@intrinsic
def hash_label_vector(
    typing: Any, form: Any, labels: Any, offset: Any, keys: Any, out: Any, key: Any, word: Any
) -> Any:
    """out = H_key(labels ⊕ offset), one vector from a word on."""

    def generate(v: Vectors) -> None:
        x = v.builder.xor(v.load(1, v.number(6)), v.load(2, ir.Constant(I64, 0)))
        (found,) = v.hashed([v.schedule(3, v.number(5))], [x])
        v.store(4, v.number(6), found)

    return emitted(generate, form, labels, offset, keys, out, key, word)


def hash_labels(form: Form, labels: Array, offset: Array, keys: Array, out: Array) -> None:
    """The hash of every label, under a key for each run of them.

    Shapes: uint64 [2 n], n a multiple of four, [8]: the offset four times, [runs, 22], [2 n].
    """
    for word in range(0, labels.shape[0], 2 * len(form)):
        hash_label_vector(form, labels, offset, keys, out, word // (2 * RUN), word)  # type: ignore[call-arg]


def grow(form: Form, depth: int, roots: Array, keys: Array, leaves: Array, sums: Array) -> None:
    """Leaves of every tree, and sums of the nodes of either side at each level.

    Shapes: uint64 [trees, 2], [2, 22], [trees 2^depth 2], [trees, depth, 2, 2]; depth is at least three.
    """
    size = 2 << depth
    for tree in range(roots.shape[0]):
        nodes = leaves[tree * size : (tree + 1) * size]
        nodes[0], nodes[1] = roots[tree, 0], roots[tree, 1]
        for level in range(depth):
            width = 2 << level
            # A vector may be longer than a level: what it writes beyond is written over by later levels.
            for i in range(0, width, 2 * len(form)):
                double_nodes(form, nodes, keys, i, i + width)  # type: ignore[call-arg]
            for side in range(2):
                low, high = np.uint64(0), np.uint64(0)
                for i in range(side * width, (side + 1) * width, 2):
                    low ^= nodes[i]
                    high ^= nodes[i + 1]
                sums[tree, level, side, 0], sums[tree, level, side, 1] = low, high


def grow_but_one(form: Form, depth: int, path: Array, siblings: Array, keys: Array, leaves: Array) -> None:
    """Leaves of every tree but the one at the path's end, which is left zero.

    siblings: at each level the sum of that side which the path does not take.
    Shapes: uint8 [trees, depth], uint64 [trees, depth, 2], [2, 22], [trees 2^depth 2].
    """
    size = 2 << depth
    for tree in range(path.shape[0]):
        nodes = leaves[tree * size : (tree + 1) * size]
        nodes[0], nodes[1] = np.uint64(0), np.uint64(0)
        at = 0
        for level in range(depth):
            width = 2 << level
            for i in range(0, width, 2 * len(form)):
                double_nodes(form, nodes, keys, i, i + width)  # type: ignore[call-arg]
            nodes[at], nodes[at + 1] = np.uint64(0), np.uint64(0)
            nodes[at + width], nodes[at + width + 1] = np.uint64(0), np.uint64(0)
            side = 1 - int(path[tree, level])
            low, high = siblings[tree, level, 0], siblings[tree, level, 1]
            for i in range(side * width, (side + 1) * width, 2):
                low ^= nodes[i]
                high ^= nodes[i + 1]
            sibling = at + side * width
            nodes[sibling], nodes[sibling + 1] = low, high
            at += (1 - side) * width


def close_trees(leaves: Array, sums: Array) -> None:
    """Clear every leaf's lowest bit, and sum up what is left of each tree's.

    Shapes: uint64 [trees, leaves, 2], [trees, 2].
    """
    for tree in range(leaves.shape[0]):
        low, high = np.uint64(0), np.uint64(0)
        for i in range(leaves.shape[1]):
            leaves[tree, i, 0] &= ~np.uint64(1)
            low ^= leaves[tree, i, 0]
            high ^= leaves[tree, i, 1]
        sums[tree, 0], sums[tree, 1] = low, high


def add_rows(table: Array, places: Array, out: Array) -> None:
    """out_j ⊕= the sum of ten rows of the table. places: uniform words, which are scaled to the table's length.

    Shapes: uint64 [k, 2], uint32 [n, 10], uint64 [n, 2].
    """
    length = np.uint64(table.shape[0])
    for j in range(out.shape[0]):
        low, high = out[j, 0], out[j, 1]
        for i in range(places.shape[1]):
            row = (np.uint64(places[j, i]) * length) >> np.uint64(32)
            low ^= table[row, 0]
            high ^= table[row, 1]
        out[j, 0], out[j, 1] = low, high
