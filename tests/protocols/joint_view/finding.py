"""What is not uniform in many samples of some bits: affine relations over GF(2), and bits that lean one way.

A relation is a set of columns whose XOR is the same in every sample; a constant bit is a relation of one column. Bits
that are uniform and independent have none: with `EXTRA` more samples than columns, one shows up by chance with
probability 2^-EXTRA. Relations are what a mask that serves twice leaves, or a bit without one.

What products leave is no relation but a lean: a bit that is the product of two others is one in a quarter of all
samples. `leanings` finds columns, and pairs of them, that are equal much more or less often than in half of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
"""0 or 1. Shapes: [samples, columns]."""

EXTRA = 64
"""More samples than columns."""
_FALSE_ALARM = 2.0**-30
_WORD_BITS = 64
_BLOCK = 1024  # columns that are compared with all others at a time


def relations(samples: Bits) -> list[tuple[int, ...]]:
    """A basis of the affine relations: for each the columns whose XOR is constant, in order.

    Gaussian elimination of the columns, each a row of packed bits, one for each sample, followed by which columns were
    added up in it. A row that vanishes tells a relation. The constant one goes first, so that it is added to whatever
    is constant. Shapes: [N, D] -> at most D relations. Raises ValueError for fewer samples than D + `EXTRA`.
    """
    count, columns = samples.shape
    if count < columns + EXTRA:
        raise ValueError(f"{columns} columns take {columns + EXTRA} samples, here are {count}")
    with_one = np.concatenate([np.ones((count, 1), np.uint8), samples], axis=1).T
    values, members = _packed(with_one), _packed(np.eye(columns + 1, dtype=np.uint8))
    width = values.shape[1]
    rows = np.concatenate([values, members], axis=1)
    found = []
    for i, row in enumerate(rows):
        places = np.flatnonzero(row[:width])
        if places.size == 0:
            own = np.unpackbits(row[width:].view(np.uint8))[1 : columns + 1]
            found.append(tuple(int(column) for column in np.flatnonzero(own)))
            continue
        word = row[places[0]]
        lowest = word & (~word + np.uint64(1))
        rows[i + 1 :][(rows[i + 1 :, places[0]] & lowest) != 0] ^= row
    return found


def leanings(samples: Bits) -> list[tuple[int, ...]]:
    """Columns that are mostly one value, and pairs of columns that are mostly equal or mostly different.

    By Hoeffding's inequality none of a uniform source is found, but with probability `_FALSE_ALARM` for all together.
    Shapes: [N, D] -> sets of one or two columns.
    """
    count, columns = samples.shape
    signs = 1 - 2 * samples.astype(np.float32)
    tried = columns * (columns + 1) // 2
    limit = math.sqrt(2 * math.log(2 * max(tried, 1) / _FALSE_ALARM) / count)
    found: list[tuple[int, ...]] = [(int(i),) for i in np.flatnonzero(np.abs(signs.mean(0)) > limit)]
    for start in range(0, columns, _BLOCK):
        agreement = np.abs(signs[:, start : start + _BLOCK].T @ signs[:, start:] / count)
        first, second = np.nonzero(np.triu(agreement > limit, 1))
        found += [(int(start + i), int(start + j)) for i, j in zip(first, second, strict=True)]
    return found


def _packed(bits: Bits) -> NDArray[np.uint64]:
    """Shapes: [rows, n] -> [rows, ceil(n / 64)]."""
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % _WORD_BITS)))
    return np.ascontiguousarray(np.packbits(padded, axis=1)).view(np.uint64)
