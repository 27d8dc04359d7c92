"""What every Channel must do, against the in-memory one and the one over gRPC; and what a Link checks."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from secure.parties.config import Measure
from secure.parties.transport.dialer import COMMON_OPTIONS
from secure.parties.transport.failures import failure_frame
from secure.parties.transport.frames import CHUNK_BYTES, AnyFrame, DataFrame, decode, encode
from secure.parties.transport.link import GrpcChannel, Link
from secure.parties.transport.ports import stop_server
from secure.parties.transport.prefetch import Prefetch
from secure.parties.transport.wire_pb2 import End, Frame
from secure.protocols.core.channel import Channel, queue_channels
from secure.protocols.core.errors import InputError, PartyLost, ProtocolError

SIZES = (0, 1, 255, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 8_000_001)


class GrpcPair:
    """Two connected links in this process, over a socket file."""

    def __init__(self, socket_file: Path) -> None:
        self._arrived: futures.Future[Link] = futures.Future()
        self._server = grpc.server(futures.ThreadPoolExecutor(2), options=COMMON_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._handle, decode, encode)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Pair", {"Talk": handler}),))
        self._server.add_insecure_port(f"unix:{socket_file}")
        self._server.start()
        self._channel = grpc.insecure_channel(f"unix:{socket_file}", options=COMMON_OPTIONS)
        ready = threading.Event()

        def outgoing() -> Iterator[AnyFrame]:
            ready.wait()
            yield from self.dialled.outgoing_frames()

        call = self._channel.stream_stream("/Pair/Talk", encode, decode)(outgoing())
        self.dialled = Link("p1", iter(call), call.cancel)
        call.add_callback(lambda: self.dialled.stream_ended("ended"))
        ready.set()
        self.answering = self._arrived.result(60)

    def close(self) -> None:
        self.dialled.cancel()
        self._channel.close()
        stop_server(self._server, 0)

    def _handle(self, incoming: Iterator[AnyFrame], context: grpc.ServicerContext) -> Iterator[AnyFrame]:
        link = Link("p0", incoming, context.cancel)
        context.add_callback(lambda: link.stream_ended("ended"))
        self._arrived.set_result(link)
        return link.outgoing_frames()


@pytest.fixture
def links(tmp_path: Path) -> Iterator[tuple[Link, Link]]:
    pair = GrpcPair(tmp_path / "s")
    yield pair.dialled, pair.answering
    pair.close()


@pytest.fixture(params=["queues", "grpc"])
def channels(request: pytest.FixtureRequest) -> tuple[Channel, Channel]:
    if request.param == "queues":
        return queue_channels("p0", "p1")
    dialled, answering = request.getfixturevalue("links")
    return GrpcChannel(dialled), GrpcChannel(answering)


def test_messages_arrive_whole_and_in_order(channels: tuple[Channel, Channel]) -> None:
    p0, p1 = channels
    assert (p0.peer, p1.peer) == ("p1", "p0")
    messages = [bytes([size % 251]) * size for size in SIZES]
    for sender, receiver in ((p0, p1), (p1, p0)):
        for message in messages:
            sender.send(message)
        assert [bytes(receiver.receive()) for _ in messages] == messages


def test_both_may_send_much_before_they_receive(channels: tuple[Channel, Channel]) -> None:
    p0, p1 = channels
    message = bytes(30_000_000)
    p0.send(message)
    p1.send(message)
    assert p0.receive() == message
    assert p1.receive() == message


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_can_be_sent(channels: tuple[Channel, Channel], kind: Callable[[bytes], bytes]) -> None:
    p0, p1 = channels
    p0.send(kind(b"abc"))
    assert isinstance(received := p1.receive(), memoryview)
    assert received == b"abc"


def test_a_lost_peer_ends_receive_and_send(links: tuple[Link, Link]) -> None:
    dialled, answering = links
    answering.send_message(b"x")
    assert dialled.receive_message() == b"x"
    lost = threading.Event()
    answering.on_lost = lambda detail: lost.set()
    dialled.cancel()
    with pytest.raises(PartyLost, match="p0 went away during the handshake"):
        answering.receive_message()
    assert lost.wait(60)
    with pytest.raises(PartyLost, match="p0"):
        answering.send_message(b"y")


def test_a_reported_failure_is_raised_as_its_own_class(links: tuple[Link, Link]) -> None:
    dialled, answering = links
    answering.post(failure_frame(InputError("too many tokens"), "p1", "layer 2"))
    with pytest.raises(InputError, match="too many tokens") as caught:
        dialled.receive_message()
    assert caught.value.__notes__ == ["reported by p1 during layer 2"]


def test_the_text_of_an_unknown_error_stays_at_home(links: tuple[Link, Link]) -> None:
    dialled, answering = links
    answering.post(failure_frame(ValueError("share 1234"), "p1", "layer 2"))
    with pytest.raises(ProtocolError, match="p1 failed during layer 2 with ValueError") as caught:
        dialled.receive_message()
    assert "1234" not in str(caught.value)


def test_traffic_counts_payload_and_messages(links: tuple[Link, Link]) -> None:
    dialled, answering = links
    for size in SIZES:
        dialled.send_message(bytes(size))
        answering.receive_message()
    sent, received = dialled.traffic, answering.traffic
    assert (sent.bytes_sent, sent.messages_sent) == (sum(SIZES), len(SIZES))
    assert (received.bytes_received, received.messages_received) == (sum(SIZES), len(SIZES))
    assert (sent.bytes_received, received.bytes_sent) == (0, 0)


def link_over(frames: list[AnyFrame]) -> Link:
    return Link("p0", iter(frames), lambda: None)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([DataFrame(1, 3, b"abc")], "frame 1 from p0 came where 0 was due"),
        ([DataFrame(0, 1 << 40, b"abc")], "announces a message of"),
        ([DataFrame(0, 6, b"abc"), DataFrame(1, 6, b"abcd")], "do not add up"),
        ([DataFrame(0, 6, b"abc"), DataFrame(1, 6, b"")], "do not add up"),
        ([DataFrame(0, 2, b"abc")], "do not add up"),
        ([DataFrame(0, 6, b"abc"), DataFrame(1, 7, b"abc")], "before the last one was complete"),
        ([Frame(sequence=0, end=End())], "sent end where a message was due"),
    ],
)
def test_malformed_streams_are_refused(frames: list[AnyFrame], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        link_over(frames).receive_message()


def test_a_stream_that_just_ends_is_a_lost_peer() -> None:
    with pytest.raises(PartyLost, match="p0 went away"):
        link_over([DataFrame(0, 6, b"abc")]).receive_message()


def test_the_send_budget_blocks_until_frames_have_left() -> None:
    link = Link("p1", iter(()), lambda: None, send_budget_bytes=10)
    link.send_message(bytes(8))
    sent = threading.Event()

    def send_second() -> None:
        link.send_message(bytes(8))
        sent.set()

    sender = threading.Thread(target=send_second)
    sender.start()
    frames = link.outgoing_frames()
    next(frames)
    assert not sent.is_set()
    # Asking for the second frame says that the first has left.
    assert isinstance(next(frames), DataFrame)
    assert sent.wait(60)
    sender.join()


def test_a_blocked_sender_wakes_when_the_stream_ends() -> None:
    link = Link("p1", iter(()), lambda: None, send_budget_bytes=10)
    link.send_message(bytes(10))
    caught: list[Exception] = []

    def send_second() -> None:
        try:
            link.send_message(bytes(8))
        except PartyLost as error:
            caught.append(error)

    sender = threading.Thread(target=send_second)
    sender.start()
    link.stream_ended("gone")
    sender.join(60)
    assert len(caught) == 1


def test_prefetch_holds_no_more_than_its_limit() -> None:
    taken: list[int] = []
    third = threading.Event()

    def frames() -> Iterator[AnyFrame]:
        for index in range(6):
            taken.append(index)
            if index == 2:
                third.set()
            yield DataFrame(index, 4, b"abcd")

    ahead = Prefetch(frames(), 8, Measure())
    # Two frames reach the limit, so the third is taken only after one was read.
    assert not third.wait(0.05)
    assert next(ahead).sequence == 0
    assert third.wait(60)
    assert [frame.sequence for frame in ahead] == [1, 2, 3, 4, 5]


def test_prefetch_hands_on_the_error_of_its_stream() -> None:
    def frames() -> Iterator[AnyFrame]:
        yield DataFrame(0, 4, b"abcd")
        raise PartyLost("dealer", "layer 1")

    ahead = Prefetch(frames(), 100, Measure())
    next(ahead)
    with pytest.raises(PartyLost, match="dealer"):
        next(ahead)


def file_of(frames: list[AnyFrame]) -> bytes:
    link, file, sizes = Link("client", iter(frames), lambda: None), io.BytesIO(), []
    link.receive_file(file, sizes.append)
    assert sizes == [len(file.getvalue())] == [link.traffic.bytes_received]
    return file.getvalue()


def test_a_file_is_written_as_its_chunks_come() -> None:
    assert file_of([DataFrame(0, 5, b"abc"), DataFrame(1, 5, b"de")]) == b"abcde"
    assert file_of([DataFrame(0, 0, b"")]) == b""


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([Frame(end=End())], "sent end where a file was due"),
        ([DataFrame(0, 2, b"abc")], "do not add up to the 2 bytes"),
        ([DataFrame(0, 5, b"abc"), DataFrame(1, 5, b"")], "do not add up to the 5 bytes"),
        ([DataFrame(0, 5, b"abc"), DataFrame(1, 4, b"de")], "before the last one was complete"),
        ([DataFrame(0, 5, b"abc"), Frame(sequence=1, end=End())], "before the last one was complete"),
    ],
)
def test_files_that_do_not_add_up(frames: list[AnyFrame], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        file_of(frames)
