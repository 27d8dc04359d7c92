"""Half gates without compiled loops, gate by gate in numpy, with AES by OpenSSL.

These functions serve machines whose AES instructions the loops do not know, and they are what the loops are compared
with: every byte is the same.
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.ciphers import Hash, key
from secure.protocols.hybrid.garbled.circuit import AND, NOT, Circuit


def garble(circuit: Circuit, start: bytes, wires: Array, table: Array, delta: Array) -> None:
    """This is `kernels.garble`. start: the first of the keys. Shapes: uint64 [wires, 2 n], [ANDs, 2, 2 n], [2]."""
    labels, number = wires.reshape(len(wires), -1, 2), 0
    for op, a, b, c in circuit.gates.tolist():
        if op == AND:
            first, second = _hash(start, 2 * number), _hash(start, 2 * number + 1)
            h = first(labels[a]), first(labels[a] ^ delta), second(labels[b]), second(labels[b] ^ delta)
            generator = h[0] ^ h[1] ^ _where_coloured(labels[b], delta)
            evaluator = h[2] ^ h[3] ^ labels[a]
            labels[c] = h[0] ^ _where_coloured(labels[a], generator)
            labels[c] ^= h[2] ^ _where_coloured(labels[b], evaluator ^ labels[a])
            table[number, 0], table[number, 1] = generator.reshape(-1), evaluator.reshape(-1)
            number += 1
        else:
            labels[c] = labels[a] ^ (delta if op == NOT else labels[b])


def evaluate(circuit: Circuit, start: bytes, wires: Array, table: Array) -> None:
    """This is `kernels.evaluate`."""
    labels, number = wires.reshape(len(wires), -1, 2), 0
    for op, a, b, c in circuit.gates.tolist():
        if op == AND:
            generator, evaluator = (row.reshape(-1, 2) for row in table[number])
            labels[c] = _hash(start, 2 * number)(labels[a]) ^ _where_coloured(labels[a], generator)
            labels[c] ^= _hash(start, 2 * number + 1)(labels[b]) ^ _where_coloured(labels[b], evaluator ^ labels[a])
            number += 1
        else:
            labels[c] = labels[a] if op == NOT else labels[a] ^ labels[b]


def _hash(start: bytes, number: int) -> Hash:
    return Hash(key(start, number))


def _where_coloured(x: Array, y: Array) -> Array:
    """y for labels x whose lowest bit is set, else zero."""
    found: Array = (np.uint64(0) - (x[:, :1] & np.uint64(1))) & y
    return found
