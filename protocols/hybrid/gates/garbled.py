"""Garbled circuits as gates: what is not linear, with the client or the owner as garbler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.hybrid.garbled import engine
from secure.protocols.hybrid.garbled.circuits import Masked
from secure.protocols.hybrid.garbled.engine import CHUNK, KEY_BYTES, LABEL_BYTES, Chunk, add_offsets
from secure.protocols.hybrid.gates.gate import HybridGate
from secure.protocols.hybrid.oblivious import pool
from secure.protocols.hybrid.roles import Maker, User, as_array, as_tensor

BATCH = 16 * CHUNK
"""Instances of a message: 14 MB of tables for ReLU with the default policy."""
_MASK, _FIRST_BATCH = 1, 2
"""Labels of a party's own addresses: of the masks, and then one for each batch."""


@dataclass(frozen=True)
class Portion:
    """Instances that are made in one go, padded to whole vectors. first: how many come before it."""

    number: int
    first: int
    instances: int

    @property
    def label(self) -> int:
        """The label of its addresses."""
        return _FIRST_BATCH + self.number

    def chunks(self) -> Iterator[slice]:
        """Its instances, a chunk at a time, counted from the first of all."""
        for start in range(0, self.instances, CHUNK):
            yield slice(self.first + start, self.first + min(start + CHUNK, self.instances))


@dataclass(frozen=True, eq=False)
class Garbled(HybridGate):
    """f(x_1, ..., x_k), of k numbers that lie along the last axis, by a circuit that adds a mask of P0.

    P0's share u of each x and its mask r are known when this is made, P1's share v = x - u is not. P1 comes to know
    f + r, which is its share of the result; P0's is -r. Of bits that the garbler knows when this is made, the *active*
    labels are expanded from a seed that both have, and zero labels are what the bit and Δ make of them. Of bits that
    the evaluator knows then, both kinds come out of correlated transfers.

    Shapes: [..., k] -> [...]. Encoding: shares in Z_2^width or larger -> in Z_2^result_bits.
    Error: none. Reveals: nothing: P1 sees f + r, and whoever evaluates one label of each wire.
    Source: Yao's circuits between layers as in DELPHI (Mishra and others, 2020), and the client as garbler as in
    CryptoNite; labels from seeds and from transfers are the project's own.
    """

    name = "garbled"
    x: Tensor
    of: Masked

    @property
    def _known_bits(self) -> int:
        """Bits of an instance whose active labels both parties expand."""
        return self.of.circuit.inputs - self.of.chosen_bits - self.of.share_bits

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[:-1])

    @property
    def _count(self) -> int:
        return self.x.numel() // self.of.elements

    def batches(self) -> Iterator[Portion]:
        """All instances, those that pad included."""
        for number, first in enumerate(range(0, self._count, BATCH)):
            yield Portion(number, first, engine.padded(min(BATCH, self._count - first)))

    @property
    def _instances(self) -> int:
        return engine.padded(self._count)

    def _transfers(self, batch: Portion) -> int:
        return pool.padded(self.of.chosen_bits * batch.instances)

    @property
    def transfers(self) -> tuple[int, int]:
        count = sum(self._transfers(batch) for batch in self.batches())
        return (count, 0) if self.of.late else (0, count)

    @property
    def _colour_bytes(self) -> int:
        return ring.element_bytes(self.of.result_bits)

    def _table_bytes(self, instances: int) -> int:
        return engine.table_bytes(self.of.circuit, instances)

    def _values(self) -> Array:
        """This party's shares by element, zero in instances that pad. Shapes: uint64 [k, instances]."""
        values = np.zeros((self.of.elements, self._instances), dtype=np.uint64)
        values[:, : self._count] = as_array(self.x.reshape(-1, self.of.elements)).T
        return values

    def _masks(self, party: Maker | User) -> Array:
        """P0's masks r. Shapes: uint64 [instances]."""
        return as_array(ring.low(party.words(_MASK, (self._instances,)), self.of.result_bits))

    def _share(self, numbers: Array) -> Tensor:
        """A share of the result, from one of every instance. Shapes: uint64 [instances] -> that of the result."""
        return ring.low(as_tensor(numbers[: self._count]), self.of.result_bits).reshape(self.shape)

    def _taken(self, user: User, batch: Portion, table_bytes: int) -> tuple[Array, Array]:
        """Labels that transfers gave, and tables with what lies behind them, as the evaluator kept them.

        Shapes: uint64 [transfers, 2], uint8 [table_bytes].
        """
        labels = user.stock.take(user.gate, LABEL_BYTES * self._transfers(batch))
        return labels.view(np.uint64).reshape(-1, 2), user.stock.take(user.gate, table_bytes)

    def _garble(self, maker: Maker, batch: Portion, chosen: Array, known: Array | None, message: Array) -> Array:
        """Write the tables of a batch to a message's beginning; the colours of the outputs' zero labels.

        chosen: zero labels of the bits that the evaluator chose. known: bits whose active labels are expanded.
        Shapes: uint64 [transfers, 2], uint8 [known bits, all instances / 8], uint8 [at least the tables]
        -> uint64 [instances of the batch].
        """
        delta, place, colours, room = maker.delta, 0, [], Chunk(self.of.circuit)
        assert delta is not None
        for part, transferred, late, expanded, start in self._labels(maker, batch, chosen, late=True):
            inputs = self._laid_out(room, part, transferred, late, expanded)
            if known is not None:
                rows = slice(self.of.circuit.inputs - self._known_bits, None)
                add_offsets(inputs[rows], known[:, part.start // 8 : part.stop // 8], delta)
            count = part.stop - part.start
            size = self._table_bytes(count)
            table = message[place : place + size].view(np.uint64).reshape(room.table_shape(count))
            colours.append(room.garble(start, delta, count, table))
            place += size
        return np.concatenate(colours)

    def _evaluate(self, user: User, batch: Portion, chosen: Array, late: Array, tables: Array) -> Array:
        """The colours of the outputs' active labels.

        Shapes: uint64 [transfers, 2], [late bits instances, 2] chunk by chunk, [tables] -> uint64 [instances].
        """
        colours, room, used, place = [], Chunk(self.of.circuit), 0, 0
        for part, transferred, _, expanded, start in self._labels(user, batch, chosen, late=False):
            count = part.stop - part.start
            own = late[used : used + self.of.share_bits * count].reshape(self.of.share_bits, -1)
            self._laid_out(room, part, transferred, own, expanded)
            size = self._table_bytes(count) // 8
            table = tables[place : place + size].reshape(self.of.circuit.ands, 2, -1)
            colours.append(room.evaluate(start, table, count))
            used, place = used + self.of.share_bits * count, place + size
        return np.concatenate(colours)

    def _labels(
        self, party: Maker | User, batch: Portion, chosen: Array, *, late: bool
    ) -> Iterator[tuple[slice, Array, Array | None, Array, bytes]]:
        """What each chunk has: instances, transferred labels, zero labels of late bits, expanded labels, first key."""
        late_labels = self.late_labels(party, batch) if late else None
        each = LABEL_BYTES * self._known_bits
        shared = party.shared_stream(batch.label, each * batch.instances + KEY_BYTES * len(list(batch.chunks())))
        used = 0
        for part in batch.chunks():
            count, start = part.stop - part.start, part.start - batch.first
            rows = slice(self.of.chosen_bits * start, self.of.chosen_bits * (start + count))
            mine = slice(self.of.share_bits * start, self.of.share_bits * (start + count))
            expanded = shared[used : used + each * count].view(np.uint64).reshape(self._known_bits, 2 * count)
            used += each * count
            key = shared[used : used + KEY_BYTES].tobytes()
            used += KEY_BYTES
            own = None if late_labels is None else late_labels[mine].reshape(self.of.share_bits, -1)
            yield part, chosen[rows].reshape(self.of.chosen_bits, -1), own, expanded, key

    def late_labels(self, party: Maker | User, batch: Portion) -> Array:
        """Zero labels of the bits that are known when there is an input, at the garbler.

        Shapes: uint64 [late bits instances, 2], chunk by chunk.
        """
        count = LABEL_BYTES * self.of.share_bits * batch.instances
        return party.secret_stream(batch.label, count).view(np.uint64).reshape(-1, 2)

    def active(self, party: User, batch: Portion, bits: Array) -> Array:
        """Labels of late bits as the evaluator is sent them. Shapes: uint8 [bits instances / 8] -> as `late_labels`."""
        labels, delta = self.late_labels(party, batch).copy(), party.delta
        assert delta is not None
        add_offsets(labels.reshape(1, -1), bits.reshape(1, -1), delta)
        return labels

    def _laid_out(self, room: Chunk, part: slice, transferred: Array, late: Array | None, expanded: Array) -> Array:
        """The labels of a chunk's inputs, in their order: where the chunk has room for them."""
        inputs = room.inputs(part.stop - part.start)
        assert late is not None
        ordered = self._ordered(transferred, late, expanded)
        np.concatenate(ordered, axis=0, out=inputs)
        return inputs

    @abstractmethod
    def _ordered(self, transferred: Array, late: Array, expanded: Array) -> tuple[Array, ...]:
        """Labels in the order of the circuit's inputs."""


def by_chunks(batch: Portion, packed: Array) -> Array:
    """Bits of a batch, chunk by chunk, in each row by row. Shapes: uint8 [rows, all / 8] -> [rows of the batch / 8]."""
    return np.concatenate([packed[:, part.start // 8 : part.stop // 8].reshape(-1) for part in batch.chunks()])


def read_colours(packed: Array, batch: Portion, bits: int) -> Array:
    """Colours of so many wires as they are sent and kept. Shapes: -> uint64 [instances of the batch]."""
    return as_array(ring.unpack(packed.data, (batch.instances,), bits))
