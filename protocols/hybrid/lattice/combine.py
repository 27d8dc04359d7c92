"""Combinations of ciphertexts with small integers, exact: one product of matrices over the residues of many of them.

A polynomial mod X^N + 1 times X^(-s) is itself, moved by s places, those that wrap with the other sign. So
out_k = Σ_j W[j, k] X^(-s_j) ct_j takes no transform and no rotation key: the moved residues are the rows of a matrix,
and W^T times that matrix is computed in float64, on pieces of 20 bits so that every sum is an integer below 2^53.
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.hybrid.lattice.parameters import DEGREE, PIECE_BITS

_PRIME_BITS = 60
_EXACT_BITS = 53
_ROWS = 64
"""Rows of the moved residues that are laid out at a time: 4 MB."""


def combine(polynomials: Array, sources: Array, shifts: Array, weights: Array, places: Array, prime: int) -> Array:
    """Σ_j weights[j, k] X^(-shifts[j]) polynomials[sources[j]] mod prime, at some places.

    Shapes: uint64 [n, N] below the prime, int64 [J], int64 [J] in [0, N), float64 [J, M] with integers, int64 [L]
    -> uint64 [M, L]. Raises ProtocolError where a sum might not be exact.
    """
    terms, columns = weights.shape
    most = int(np.abs(weights).max(initial=0)).bit_length() + max(terms - 1, 1).bit_length()
    if most + PIECE_BITS > _EXACT_BITS:
        raise ProtocolError(f"a sum of {terms} terms with such weights has {most} bits more than one of its terms")
    total = np.zeros((columns, len(places)), dtype=np.int64)
    rows = np.empty((min(_ROWS, terms), len(places)))
    for shift in range(_PRIME_BITS - PIECE_BITS, -1, -PIECE_BITS):
        part = np.zeros(total.shape)
        for start in range(0, terms, _ROWS):
            some = slice(start, min(start + _ROWS, terms))
            room = rows[: some.stop - start]
            compiled(_lay_out)(polynomials, sources[some], shifts[some], places, shift, room)
            part += weights[some].T @ room
        compiled(_append)(total.reshape(-1), part.reshape(-1), PIECE_BITS, prime)
    return total.astype(np.uint64)


def _lay_out(polynomials: Array, sources: Array, shifts: Array, places: Array, shift: int, rows: Array) -> None:
    """Pieces of moved residues. Shapes: uint64 [n, N], int64 [J], [J], [L], float64 [J, L]."""
    mask = np.uint64((1 << PIECE_BITS) - 1)
    for j in range(rows.shape[0]):
        source = polynomials[sources[j]]
        for i in range(places.shape[0]):
            place = places[i] + shifts[j]
            if place < DEGREE:
                rows[j, i] = np.float64((source[place] >> np.uint64(shift)) & mask)
            else:
                rows[j, i] = -np.float64((source[place - DEGREE] >> np.uint64(shift)) & mask)


def _append(total: Array, part: Array, bits: int, prime: int) -> None:
    """total = total 2^bits + part mod prime. Shapes: int64 [n] in [0, prime), float64 [n] integral, below 2^53.

    The quotient comes from floats: it is off by few, and what is left of the product mod 2^64 is small.
    """
    factor = 2.0**bits / prime
    for i in range(total.shape[0]):
        x = total[i] << bits
        x = (x - np.int64(np.float64(total[i]) * factor) * prime) % prime + np.int64(part[i]) % prime
        total[i] = x - prime if x >= prime else x


def add_multiple(residues: Array, high: Array, low: Array, bits: int, prime: int) -> None:
    """residues += high 2^bits + low mod prime. Shapes: uint64 [n] each; high below 2^60, low below 2^bits."""
    factor = 2.0**bits / prime
    for i in range(residues.shape[0]):
        number = np.int64(high[i])
        x = (number << bits) - np.int64(np.float64(number) * factor) * prime
        x = (x % prime + np.int64(low[i])) % prime + np.int64(residues[i])
        residues[i] = np.uint64(x - prime if x >= prime else x)
