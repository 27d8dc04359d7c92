"""Is a vector that a client shared one-hot? The test that both families make, and why it finds what is not.

In a ring of 2^k numbers, k >= 3, x is one-hot if and only if its entries add up to one and
    q = (sum_i a_i x_i)^2 - sum_i a_i^2 x_i = sum_i (x_i^2 - x_i) a_i^2 + sum_{i<j} 2 x_i x_j a_i a_j
is zero as a polynomial in a: the first coefficients are zero for 0 and 1 alone, and two ones give a coefficient 2.

So the parties draw a, once the input has come, and look at q in the Galois ring of `core.galois_ring`, where a
polynomial of degree D that is not zero vanishes with probability D / 2^43. Drawing an a_i for every word of a table
would take long. With i = (p, s), a_i = g_p h_s for drawn g and h: x_ps^2 - x_ps is then the coefficient of g_p^2 h_s^2,
so that x is of bits if they are zero; two ones leave a coefficient 2 or 4, as no coefficient is negative. The degree is
4. What is to be zero is added up over all vectors, each times an element that is drawn, too, and so are the sums:
    v = sum_n (rho_n q_n + rho'_n (s_n - 1)).
If one q_n or s_n - 1 is not zero, so is v, but for probability 2^-43. *A client whose vectors are not one-hot passes
with probability (4 + 1) / 2^43 < 2^-40*, whatever it sends, and however many vectors it sends at once.

y = sum a_i x_i, sum a_i^2 x_i and the sums are linear in x: `Challenge.sketch` gives shares of them for shares of x.

For an honest client v is zero, so that what a party hears of the others' shares of v follows from its own, and tells
nothing. For another client v depends on what that client sent and on what was drawn: it tells nothing of a model.

Source: the sketches of Boyle, Gilboa and Ishai, Function secret sharing: improvements and extensions, 2016, for vectors
over fields; here over Z_2^k by an extension of the ring, with structured a.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import factor, ring
from secure.protocols.core.errors import InputError
from secure.protocols.core.galois_ring import DEGREE, matrices, multiply
from secure.protocols.core.prg import SEED_BYTES, Prg

_BLOCK = 1024
"""Values of s: the sums for one p are products with a matrix of so many rows."""
_MOST_ROWS = 128
"""Vectors are as long as a table: more of them at a time than this would take gigabytes at a party."""
_SESSION = b"one-hot check"


class Sketch(NamedTuple):
    """Shapes: [N, 43], [N, 43], [N], for N vectors: y, sum a_i^2 x_i, and the sum of the entries."""

    values: Tensor
    squares: Tensor
    sums: Tensor


@dataclass(frozen=True, eq=False)
class _Tables:
    """What vectors of one length are multiplied by.

    Shapes: blocks [s, 86], of h and h^2; outer, outer_squares [p 43, 43], of g and g^2.
    """

    blocks: factor.Factor
    outer: Tensor
    outer_squares: Tensor


class Challenge:
    """What was drawn for one test.

    parts: lengths of the vectors that lie side by side along the last axis, each of which is to be one-hot.
    """

    def __init__(self, seed: bytes, parts: Sequence[int], bits: int, device: torch.device) -> None:
        self._prg, self._draws = Prg(seed, _SESSION), itertools.count()
        self._parts, self._bits, self._device = list(parts), bits, device
        longest = max(parts)
        self._inner = self.weights(min(longest, _BLOCK))
        self._outer = self.weights(-(-longest // _BLOCK))

    def weights(self, count: int) -> Tensor:
        """Elements of the ring that were not drawn before: uniform, of coefficients 0 and 1. Shapes: -> [count, 43]."""
        elements = count * DEGREE
        bits = np.unpackbits(self._prg.stream(next(self._draws), 0, -(-elements // 8)))[:elements]
        return torch.from_numpy(bits.reshape(count, DEGREE)).to(self._device, torch.int64)

    def sketch(self, x: Tensor) -> Sketch:
        """Linear functions of vectors, or of shares of them. Shapes: int64 [..., sum of parts] -> N vectors."""
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        found = [
            self._sketch_rows(rows, size) for rows, size in zip(flat.split(self._parts, 1), self._parts, strict=True)
        ]
        return Sketch(*(torch.cat(each) for each in zip(*found, strict=True)))

    def _sketch_rows(self, x: Tensor, size: int) -> Sketch:
        """The sketch of vectors of one length. Shapes: [N, size] -> N vectors."""
        tables = self._tables(size)
        parts = [self._sketch_few(rows, tables) for rows in x.split(_MOST_ROWS)]
        values, squares = (torch.cat(each) for each in zip(*parts, strict=True))
        return Sketch(values, squares, x.sum(1))

    def _sketch_few(self, x: Tensor, tables: _Tables) -> tuple[Tensor, Tensor]:
        count, size = x.shape
        block = min(size, _BLOCK)
        whole = size // block
        inner = tables.blocks.product(
            [x[:, : whole * block].unflatten(1, (whole, block)).reshape(-1, block)], self._bits
        )
        inner = inner.reshape(count, whole, 2 * DEGREE)
        if whole * block < size:
            rest = torch.nn.functional.pad(x[:, whole * block :], (0, (whole + 1) * block - size))
            inner = torch.cat([inner, tables.blocks.product([rest], self._bits).unsqueeze(1)], 1)
        values, squares = (part.reshape(count, -1) for part in inner.split(DEGREE, 2))
        return (
            ring.matmul(values, tables.outer, self._bits),
            ring.matmul(squares, tables.outer_squares, self._bits),
        )

    def _tables(self, size: int) -> _Tables:
        inner, outer = self._inner[:size], self._outer[: -(-size // _BLOCK)]
        blocks = torch.cat([inner, multiply(inner, inner)], 1)
        return _Tables(
            factor.prepare([blocks], self._bits),
            matrices(outer).reshape(-1, DEGREE),
            matrices(multiply(outer, outer)).reshape(-1, DEGREE),
        )


def seed_of(coins: Sequence[bytes]) -> bytes:
    """One seed from what each party drew, in the order of the parties."""
    return hashlib.sha256(b"".join(coins)).digest()[:SEED_BYTES]


def refuse() -> InputError:
    """The error that ends the session of a client whose vectors are not one-hot."""
    return InputError(
        "the client's input is not what it must be: a vector that chooses a row of a private table is to be one-hot, "
        "and one that the client shared is not. The parties checked this without seeing it, and sent no result. A "
        "client of this library shares no such vector; use an unmodified one"
    )
