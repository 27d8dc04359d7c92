"""Extended transfers: t = q ⊕ c Δ, and no stream is used twice."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secure.protocols.core.errors import ProtocolError
from secure.protocols.hybrid.oblivious.extension import (
    WIDTH,
    CorrelatedReceiver,
    CorrelatedSender,
    draw_offset,
    message_bytes,
    offset_bits,
    padded,
)

Array = NDArray[Any]


def both_sides() -> tuple[Array, CorrelatedSender, CorrelatedReceiver]:
    """As base transfers would leave them."""
    delta = draw_offset()
    pairs = [(os.urandom(16), os.urandom(16)) for _ in range(WIDTH)]
    chosen = [pair[bit] for pair, bit in zip(pairs, offset_bits(delta), strict=True)]
    return delta, CorrelatedSender(delta, chosen), CorrelatedReceiver(pairs)


def choices_of(count: int) -> tuple[Array, Array]:
    packed = np.frombuffer(os.urandom(count // 8), np.uint8)
    return packed, np.unpackbits(packed, bitorder="little").astype(np.uint64)


def test_the_offset_has_its_lowest_bit_set() -> None:
    offsets = [draw_offset() for _ in range(64)]
    assert all(int(delta[0]) & 1 for delta in offsets)
    assert len({delta.tobytes() for delta in offsets}) == 64
    bits = offset_bits(offsets[0])
    assert sum(bit << i for i, bit in enumerate(bits)) == int.from_bytes(offsets[0].tobytes(), "little")


@pytest.mark.parametrize("count", [64, 640, 31 * 256])
def test_labels_differ_by_the_offset_where_bits_are_set(count: int) -> None:
    delta, sender, receiver = both_sides()
    for _ in range(3):
        packed, bits = choices_of(count)
        message, labels = receiver.extend(packed)
        zero = sender.extend(memoryview(message.tobytes()), count)
        assert message.nbytes == message_bytes(count) == 16 * count
        assert np.array_equal(labels, zero ^ bits[:, None] * delta)


def test_streams_never_repeat() -> None:
    """The same bits, again and again: nothing of a message or a label comes twice, within an extension or between."""
    _, _, receiver = both_sides()
    packed = np.zeros(64, np.uint8)
    messages, labels = zip(*(receiver.extend(packed) for _ in range(4)), strict=True)
    columns = np.concatenate(messages).view(np.uint64).reshape(-1, 8)
    assert len(np.unique(columns, axis=0)) == len(columns)
    assert len(np.unique(columns)) == columns.size
    rows = np.concatenate(labels)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert len(np.unique(rows)) == rows.size


def test_messages_are_uniform() -> None:
    _, _, receiver = both_sides()
    message, _ = receiver.extend(np.zeros(4096, np.uint8))
    bits = np.unpackbits(message, axis=1)
    # Each column, and all of them together, but for six standard deviations.
    assert (np.abs(bits.mean(1) - 0.5) < 6 * 0.5 / np.sqrt(bits.shape[1])).all()
    assert abs(bits.mean() - 0.5) < 6 * 0.5 / np.sqrt(bits.size)


def test_sizes_are_checked() -> None:
    _, sender, receiver = both_sides()
    assert [padded(n) for n in (1, 64, 65)] == [64, 64, 128]
    with pytest.raises(ProtocolError, match="multiples of 64"):
        receiver.extend(np.zeros(9, np.uint8))
    message, _ = receiver.extend(np.zeros(16, np.uint8))
    for wrong in (message.tobytes()[:-1], message.tobytes() + b"x", b""):
        with pytest.raises(ProtocolError, match="128 oblivious transfers"):
            sender.extend(memoryview(wrong), 128)
    with pytest.raises(ProtocolError, match="takes 128"):
        CorrelatedSender(draw_offset(), [bytes(16)] * 127)
