"""Garbling and evaluation: every form gives the bytes of the plain one, and labels are what they should be."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secure.protocols.core.errors import ProtocolError
from secure.protocols.functions.relu import relu_function
from secure.protocols.hybrid import vectors
from secure.protocols.hybrid.garbled.circuits import largest, straight
from secure.protocols.hybrid.garbled.engine import CHUNK, Chunk, add_offsets, pack_bits, padded, table_bytes
from tests.protocols.hybrid.boolean import computed

Array = NDArray[Any]
RELU = straight(relu_function(16), 16, 31, 47, "client").circuit
SMALL = largest(2, 6, 9, "server").circuit
FORMS = vectors.forms()


def words(count: int) -> Array:
    return np.frombuffer(os.urandom(8 * count), np.uint64)


def offset() -> Array:
    return words(2) | np.array([1, 0], np.uint64)


def instance(circuit: Any, count: int) -> tuple[Array, Array, list[NDArray[np.bool_]]]:
    """Zero labels of the inputs, active labels, and the bits."""
    zero = words(2 * count * circuit.inputs).reshape(circuit.inputs, 2 * count)
    bits = [np.frombuffer(os.urandom(count), np.uint8) % 2 == 1 for _ in range(circuit.inputs)]
    return zero, np.repeat(np.array(bits, dtype=np.uint64), 2, axis=1), bits


# The fastest form, and the others where there is time to compile them.
@pytest.mark.parametrize("form", [*FORMS[:1], *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])])
@pytest.mark.parametrize("count", [8, 40, CHUNK])
@pytest.mark.parametrize("circuit", [SMALL, RELU], ids=["largest", "relu"])
def test_loops_give_the_bytes_of_the_plain_form(circuit: Any, count: int, form: vectors.Form) -> None:
    zero, chosen, bits = instance(circuit, count)
    delta, start = offset(), os.urandom(16)
    active = zero ^ chosen * np.tile(delta, count)
    found = []
    for each in (form, None):
        chunk = Chunk(circuit, each)
        chunk.inputs(count)[:] = zero
        table = np.empty(chunk.table_shape(count), dtype=np.uint64)
        zero_colours = chunk.garble(start, delta, count, table)
        zero_labels = chunk.output_labels(count).copy()
        chunk.inputs(count)[:] = active
        colours = chunk.evaluate(start, table, count)
        labels = chunk.output_labels(count).copy()
        found.append((table, zero_colours, zero_labels, colours, labels))
        assert np.array_equal((colours ^ zero_colours).astype(np.int64), computed(circuit, bits))
        # What is evaluated is one of the two labels of a wire, never anything else.
        differences = (labels ^ zero_labels).reshape(len(labels), count, 2)
        assert np.logical_or((differences == 0).all(-1), (differences == delta).all(-1)).all()
        assert table.nbytes == table_bytes(circuit, count)
    assert all(np.array_equal(x, y) for x, y in zip(*found, strict=True))


def test_garbling_is_a_function_of_its_seeds() -> None:
    zero, _, _ = instance(SMALL, 8)
    delta, start, chunk = offset(), os.urandom(16), Chunk(SMALL)

    def table(labels: Array, delta: Array, start: bytes) -> Array:
        chunk.inputs(8)[:] = labels
        found = np.empty(chunk.table_shape(8), dtype=np.uint64)
        chunk.garble(start, delta, 8, found)
        return found

    first = table(zero, delta, start)
    assert np.array_equal(first, table(zero, delta, start))
    for other in (table(zero, delta, os.urandom(16)), table(zero, offset(), start), table(zero + 2, delta, start)):
        assert (first != other).any(-1).all()  # every row of every gate


def test_rows_of_a_table_look_random() -> None:
    zero, _, _ = instance(RELU, CHUNK)
    chunk = Chunk(RELU)
    chunk.inputs(CHUNK)[:] = zero
    table = np.empty(chunk.table_shape(CHUNK), dtype=np.uint64)
    chunk.garble(os.urandom(16), offset(), CHUNK, table)
    bits = np.unpackbits(table.view(np.uint8))
    # Half of the bits are set, but for six standard deviations, and no row comes twice.
    assert abs(bits.mean() - 0.5) < 6 * 0.5 / np.sqrt(bits.size)
    assert len(np.unique(table.reshape(-1, 2), axis=0)) == table.size // 2


def test_offsets_are_added_where_bits_are_set() -> None:
    values, delta, labels = words(32).reshape(2, 16), offset(), words(6 * 32).reshape(6, 32)
    changed = labels.copy()
    add_offsets(changed, pack_bits(values, 3), delta)
    difference = (changed ^ labels).reshape(6, 16, 2)
    for j in range(6):
        bit = values[j // 3] >> np.uint64(j % 3) & np.uint64(1)
        assert np.array_equal(difference[j], bit[:, None] * delta)


def test_instances_come_in_multiples_of_eight() -> None:
    assert [padded(n) for n in (1, 8, 9)] == [8, 8, 16]
    for count in (0, 4, CHUNK + 8):
        with pytest.raises(ProtocolError, match="multiples of 8"):
            Chunk(SMALL).inputs(count)
    for shape in ((SMALL.ands - 1, 2, 16), (SMALL.ands, 2, 8)):
        with pytest.raises(ProtocolError, match="a table of shape"):
            Chunk(SMALL).evaluate(bytes(16), np.zeros(shape, dtype=np.uint64), 8)
