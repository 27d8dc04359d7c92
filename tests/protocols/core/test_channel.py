"""The in-memory channels that other tests stand on: one that is faithful, one that breaks."""

from __future__ import annotations

import pytest

from secure.protocols.core.channel import Channel, FaultyChannel, queue_channels
from secure.protocols.core.errors import PartyLost, ProtocolError


def pair(fault: str, at_message: int) -> tuple[Channel, Channel]:
    first, second = queue_channels("p0", "p1", timeout_seconds=0.01)
    return FaultyChannel(first, fault=fault, at_message=at_message), second


def test_messages_arrive_whole_and_in_order() -> None:
    first, second = queue_channels("p0", "p1")
    assert (first.peer, second.peer) == ("p1", "p0")
    for message in (b"one", bytearray(b"two"), memoryview(b"three"), b""):
        first.send(message)
    second.send(b"back")
    assert [bytes(second.receive()) for _ in range(4)] == [b"one", b"two", b"three", b""]
    assert bytes(first.receive()) == b"back"


def test_a_message_is_a_copy() -> None:
    first, second = queue_channels("p0", "p1")
    buffer = bytearray(b"abc")
    first.send(buffer)
    buffer[0] = 0
    assert bytes(second.receive()) == b"abc"


def test_recording() -> None:
    first, second = queue_channels("p0", "p1")
    first.send(b"before")
    sent = first.record()
    first.send(b"after")
    assert sent == [b"after"]
    assert [bytes(second.receive()) for _ in range(2)] == [b"before", b"after"]


def test_silence_is_an_error() -> None:
    first, _ = queue_channels("p0", "p1", timeout_seconds=0.01)
    with pytest.raises(PartyLost, match="p1 went away during receive") as caught:
        first.receive()
    assert (caught.value.role, caught.value.step) == ("p1", "receive")


def test_what_was_sent_arrives_before_the_end() -> None:
    first, second = queue_channels("p0", "p1")
    first.send(b"last")
    first.close()
    assert second.receive() == b"last"
    for _ in range(2):
        with pytest.raises(PartyLost, match="p0 went away during receive: it closed the channel"):
            second.receive()


@pytest.mark.parametrize("at_message", [0, 2])
def test_lose(at_message: int) -> None:
    broken, other = pair("lose", at_message)
    for _ in range(at_message):
        broken.send(b"fine")
    with pytest.raises(PartyLost, match="p1 went away during send"):
        broken.send(b"lost")
    assert [bytes(other.receive()) for _ in range(at_message)] == [b"fine"] * at_message
    with pytest.raises(PartyLost, match="p0"):
        other.receive()


@pytest.mark.parametrize(("fault", "received"), [("drop", [b"0", b"2"]), ("truncate", [b"0", b"", b"2"])])
def test_drop_and_truncate(fault: str, received: list[bytes]) -> None:
    broken, other = pair(fault, 1)
    for message in (b"0", b"1", b"2"):
        broken.send(message)
    assert [bytes(other.receive()) for _ in received] == received
    with pytest.raises(PartyLost):
        other.receive()


def test_the_other_direction_is_untouched() -> None:
    broken, other = pair("drop", 0)
    other.send(b"fine")
    assert bytes(broken.receive()) == b"fine"
    assert broken.peer == "p1"


def test_unknown_fault() -> None:
    first, _ = queue_channels("p0", "p1")
    with pytest.raises(ProtocolError, match="'explode'"):
        FaultyChannel(first, fault="explode", at_message=0)
