"""Base transfers: the chosen key is the receiver's and no other, and points that are none of the group are refused."""

from __future__ import annotations

import pytest
from Crypto.PublicKey.ECC import EccPoint

from secure.protocols.core.errors import ProtocolError
from secure.protocols.hybrid.oblivious.base import KEY_BYTES, POINT_BYTES, BaseReceiver, BaseSender

FIELD = 2**255 - 19


def packed(x: int, y: int) -> bytes:
    return x.to_bytes(32, "little") + y.to_bytes(32, "little")


def test_the_receiver_has_what_it_chose() -> None:
    choices = [0, 1, 1, 0, 1]
    sender = BaseSender()
    receiver = BaseReceiver(choices, sender.message)
    pairs = sender.keys(receiver.reply)
    assert len(receiver.reply) == POINT_BYTES * len(choices)
    for pair, choice, key in zip(pairs, choices, receiver.keys, strict=True):
        assert key == pair[choice] and key != pair[1 - choice] and len(key) == KEY_BYTES
    # Each key is one of a kind: the hash binds the transfer's number.
    assert len({key for pair in pairs for key in pair}) == 2 * len(choices)


def test_what_is_sent_differs_each_time() -> None:
    sender = BaseSender()
    replies = [BaseReceiver([0, 0], sender.message).reply for _ in range(2)]
    points = {reply[i : i + POINT_BYTES] for reply in replies for i in (0, POINT_BYTES)}
    assert len(points) == 4 and BaseSender().message != sender.message


def test_a_swapped_reply_gives_other_keys() -> None:
    sender = BaseSender()
    receiver = BaseReceiver([0, 0], sender.message)
    swapped = receiver.reply[POINT_BYTES:] + receiver.reply[:POINT_BYTES]
    assert not {key for pair in sender.keys(swapped) for key in pair} & set(receiver.keys)


def of_order_eight() -> bytes:
    """A point whose eighth multiple is neutral, found as the torsion part of some point of the curve."""
    order = 2**252 + 27742317777372353535851937790883648493
    constant = -121665 * pow(121666, -1, FIELD)
    for y in range(2, 200):
        square = (y * y - 1) * pow(constant * y * y + 1, -1, FIELD) % FIELD
        x = pow(square, (FIELD + 3) // 8, FIELD)
        if x * x % FIELD != square:
            x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
        if x * x % FIELD != square:
            continue
        point = EccPoint(x, y, curve="Ed25519") * order
        if not (point * 4).is_point_at_infinity():
            return packed(*map(int, point.xy))
    raise AssertionError("no point of order eight was found")


@pytest.mark.parametrize(
    "point",
    [packed(0, 1), packed(0, FIELD - 1), of_order_eight(), packed(3, 5), packed(0, FIELD + 1), bytes(63)],
    ids=["neutral", "order-two", "order-eight", "off-the-curve", "not-reduced", "short"],
)
def test_points_that_are_not_of_the_group_are_refused(point: bytes) -> None:
    with pytest.raises(ProtocolError):
        BaseReceiver([0], point)
    with pytest.raises(ProtocolError):
        BaseSender().keys(point)


def test_a_good_point_with_a_part_of_small_order_is_refused() -> None:
    sender = BaseSender()
    good = EccPoint(*(int.from_bytes(sender.message[i : i + 32], "little") for i in (0, 32)), curve="Ed25519")
    mixed = good + EccPoint(0, FIELD - 1, curve="Ed25519")
    with pytest.raises(ProtocolError, match="prime order"):
        BaseReceiver([0], packed(*map(int, mixed.xy)))
