"""Transfers in stock: both sides and their account stay in step, whatever is drawn, and nothing is drawn twice."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secure.protocols.core.errors import ProtocolError
from secure.protocols.hybrid.oblivious import pool
from secure.protocols.hybrid.oblivious.extension import WIDTH, draw_offset, offset_bits
from secure.protocols.hybrid.oblivious.pool import (
    FEW,
    Extended,
    Supply,
    TransferReceiver,
    TransferSender,
    bits_of,
    extended_bytes,
    message_bytes,
    padded,
)
from secure.protocols.hybrid.oblivious.silent import LARGE, SMALL, Noise

Array = NDArray[Any]
TINY, SOME = Noise(secret=40, trees=50, depth=3), Noise(secret=100, trees=20, depth=6)


def both_sides() -> tuple[TransferSender, TransferReceiver]:
    """As base transfers would leave them."""
    delta = draw_offset()
    pairs = [(os.urandom(16), os.urandom(16)) for _ in range(WIDTH)]
    return TransferSender(
        delta, [pair[b] for pair, b in zip(pairs, offset_bits(delta), strict=True)]
    ), TransferReceiver(pairs)


def refill(sender: TransferSender, receiver: TransferReceiver, due: list[pool.Refill]) -> None:
    for each in due:
        if isinstance(each, Extended):
            message = receiver.extended(each.made)
            assert message.nbytes == extended_bytes(each.made)
            sender.extended(memoryview(message.tobytes()), each.made)
        else:
            receiver.answered(each, memoryview(sender.turn(each, memoryview(receiver.ask(each)))))


def test_draws_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Across extension, small turns and large ones: t = q ⊕ c Δ, and no label comes twice."""
    for name, value in (("FEW", 128), ("SMALL", TINY), ("LARGE", SOME)):
        monkeypatch.setattr(pool, name, value)
    supply, (sender, receiver), zeros, kinds = Supply(), both_sides(), [], set()
    for count in (1, 63, 8, 200, 64, 900, 8, 1400, 3):
        due = supply.draw(count)
        kinds |= {each if isinstance(each, Noise) else type(each) for each in due}
        refill(sender, receiver, due)
        zero, labels = sender.take(count), receiver.take(count)
        choices = np.unpackbits(bits_of(labels), count=count, bitorder="little").astype(np.uint64)
        assert np.array_equal(labels, zero ^ choices[:, None] * sender.delta)
        assert not (zero[:, 0] & np.uint64(1)).any()
        zeros.append(zero.copy())
    assert kinds == {Extended, TINY, SOME}
    rows = np.concatenate(zeros)
    assert len(np.unique(rows[:, 1])) == len(rows)


def test_chosen_bits() -> None:
    sender, receiver = both_sides()
    refill(sender, receiver, Supply().draw(640))
    packed = np.frombuffer(os.urandom(80), np.uint8)
    message, labels = receiver.extend(packed)
    zero = sender.extend(memoryview(message.tobytes()), 640)
    assert message.nbytes == message_bytes(640) == 80
    chosen = np.unpackbits(packed, bitorder="little").astype(np.uint64)
    assert np.array_equal(labels, zero ^ chosen[:, None] * sender.delta)
    assert 200 < np.unpackbits(message ^ packed).sum() < 440  # under random bits
    with pytest.raises(ProtocolError, match="640 oblivious transfers"):
        sender.extend(memoryview(message.tobytes()[1:]), 640)
    for side in (sender, receiver):
        with pytest.raises(ProtocolError, match="were drawn, 0 were there"):
            side.take(1)


def test_an_answer_that_was_not_asked_for() -> None:
    _, receiver = both_sides()
    with pytest.raises(ProtocolError, match="not asked for"):
        receiver.answered(SMALL, memoryview(b""))


def test_what_comes_when() -> None:
    """A few are extended; then come small turns, then large ones; what the next turn takes is always left."""
    supply = Supply()
    assert supply.draw(100) == [Extended(128)] and supply.draw(28) == []
    (extended, turn) = supply.draw(FEW)
    assert extended == Extended(padded(SMALL.taken)) and turn == SMALL
    few = SMALL.made - 2 * SMALL.taken
    assert supply.draw(few - FEW + SMALL.taken) == []
    assert supply.draw(1) == [SMALL]
    assert supply.draw(few) == [SMALL, LARGE] or supply.draw(SMALL.made) == [SMALL, LARGE]
    assert LARGE.taken <= SMALL.made and SMALL.taken <= FEW
    huge = Supply().draw(9_000_000)
    assert huge.count(LARGE) == 2 and huge.count(SMALL) <= 2
    left = sum(each.made - each.taken for each in huge) - 9_000_000
    assert left >= SMALL.taken
