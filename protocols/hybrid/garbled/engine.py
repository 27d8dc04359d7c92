"""Half gates in bulk: one circuit, many instances, a chunk of them under one run of keys.

A label has 128 bits. Every wire has a zero label A and a one label A ⊕ Δ; Δ is the garbler's, one for a making, and its
lowest bit is one, so that a label's lowest bit, its colour, tells the two apart. Whoever evaluates knows one label of
each wire, which is uniform to it, and nothing tells it which one, but for outputs whose zero label's colour it is
given. An AND costs two rows of 16 bytes, XOR and NOT nothing.

*The hash.* H_k(x) = AES_k(σ(x)) ⊕ σ(x) with a key for each half gate, which the instances of a chunk share; the run of
keys starts at a fresh uniform S for each chunk. It must be secure for correlated inputs x ⊕ Δ with AES as an ideal
cipher. We assume that a key which serves n instances costs about log2(n) of the 128 bits. The keys are no secrets.

Source: Zahur, Rosulek, Evans, Two halves make a whole, 2015; the hash as in Guo, Katz, Wang, Weng, Yu, Better concrete
security for half-gates garbling, 2020 (eprint 2019/1168).
"""

from __future__ import annotations

import numpy as np

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, compiled
from secure.protocols.hybrid import vectors
from secure.protocols.hybrid.ciphers import schedules
from secure.protocols.hybrid.garbled import kernels, plain
from secure.protocols.hybrid.garbled.circuit import Circuit

CHUNK = 256
"""Instances that are garbled at once: their labels stay in the second-level cache."""
STEP = 8
"""Instances come in multiples of this: two vectors of four labels."""
LABEL_BYTES = 16
KEY_BYTES = 16
_LABEL_WORDS = 2


def padded(count: int) -> int:
    """How many instances are garbled where so many are wanted."""
    return count + -count % STEP


def table_bytes(circuit: Circuit, instances: int) -> int:
    """The size of the tables of so many instances, a multiple of eight."""
    return 2 * LABEL_BYTES * circuit.ands * instances


class Chunk:
    """Room for the labels of up to `CHUNK` instances of one circuit, used over and over by one thread.

    form: of the vectors; None for numpy and OpenSSL. By default the fastest that there is.
    """

    def __init__(self, circuit: Circuit, form: vectors.Form | str | None = "fastest") -> None:
        self._circuit = circuit
        self._form = vectors.fastest() if isinstance(form, str) else form
        self._room = np.empty(circuit.wires * _LABEL_WORDS * CHUNK, dtype=np.uint64)
        self._keys = np.empty((2 * circuit.ands, 8 * vectors.SCHEDULE_WORDS), dtype=np.uint8)
        self._outputs = np.array(circuit.outputs, dtype=np.int64)

    def inputs(self, instances: int) -> Array:
        """Where the labels of the inputs are to be written. Shapes: uint64 [inputs, 2 instances].

        Raises ProtocolError for a number of instances that is no multiple of eight, or too large.
        """
        if instances % STEP or not 0 < instances <= CHUNK:
            raise ProtocolError(f"{instances} instances of a circuit; at most {CHUNK} in multiples of {STEP}")
        return self._labels(instances)[: self._circuit.inputs]

    def table_shape(self, instances: int) -> tuple[int, int, int]:
        """The shape of a table, of uint64."""
        return self._circuit.ands, 2, _LABEL_WORDS * instances

    def garble(self, start: bytes, delta: Array, instances: int, table: Array) -> Array:
        """From zero labels in `inputs`, write the table; the colours of the outputs' zero labels as numbers.

        Shapes: start 16 bytes, delta uint64 [2], uint64 [ANDs, 2, 2 instances] -> uint64 [instances]. Raises
        ProtocolError for a table of another shape.
        """
        wires = self._checked(instances, table)
        if self._form is None:
            plain.garble(self._circuit, start, wires, table, delta)
        else:
            compiled(kernels.garble)(
                self._form, self._circuit.gates, wires, table, schedules(start, self._keys), np.tile(delta, 4)
            )
        return self._colours(wires)

    def evaluate(self, start: bytes, table: Array, instances: int) -> Array:
        """From active labels in `inputs`: the colours of the outputs' labels as numbers.

        Shapes: start 16 bytes, table as of `garble` -> uint64 [instances]. Raises ProtocolError for another table.
        """
        wires = self._checked(instances, table)
        if self._form is None:
            plain.evaluate(self._circuit, start, wires, table)
        else:
            compiled(kernels.evaluate)(self._form, self._circuit.gates, wires, table, schedules(start, self._keys))
        return self._colours(wires)

    def output_labels(self, instances: int) -> Array:
        """The labels of the outputs after either. Shapes: uint64 [outputs, 2 instances]."""
        return self._labels(instances)[self._outputs]

    def _checked(self, instances: int, table: Array) -> Array:
        """The labels of all wires. The loops themselves do not see whether a table is as large as it should be."""
        if table.shape != self.table_shape(instances):
            raise ProtocolError(f"a table of shape {table.shape}, due is {self.table_shape(instances)}")
        return self._labels(instances)

    def _labels(self, instances: int) -> Array:
        width = _LABEL_WORDS * instances
        return self._room[: self._circuit.wires * width].reshape(self._circuit.wires, width)

    def _colours(self, wires: Array) -> Array:
        found = np.empty(wires.shape[1] // _LABEL_WORDS, dtype=np.uint64)
        compiled(kernels.colours)(wires, self._outputs, found)
        return found


def pack_bits(values: Array, width: int) -> Array:
    """Bits of numbers as rows, one for each place, lowest first, eight instances to a byte; element by element.

    Shapes: uint64 [elements, n], n a multiple of eight -> uint8 [elements width, n / 8].
    """
    packed = np.empty((len(values) * width, values.shape[1] // 8), dtype=np.uint8)
    compiled(kernels.pack_bits)(np.ascontiguousarray(values), width, packed)
    return packed


def add_offsets(labels: Array, packed: Array, delta: Array) -> None:
    """Change zero labels into active ones, or back, in place.

    Shapes: uint64 [bits, 2 n], bits as of `pack_bits`: uint8 [bits, n / 8], delta uint64 [2].
    """
    compiled(kernels.add_offsets)(packed, delta, labels)
