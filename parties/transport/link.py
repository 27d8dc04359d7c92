"""One gRPC stream as a link of frames, and a link as the `Channel` that protocols speak through.

Threads. The thread that computes calls `send_message`, which only queues, and `receive_message`, which reads gRPC's
iterator itself: one hand-over per direction, the least that grpcio's API allows. gRPC pulls `outgoing_frames` in a
thread of its own, so two sides that both send before they receive never block each other. While the thread that
computes waits for somebody else, another one may read the next frame (`look_ahead`).

Memory. A link with a send budget blocks its sender while that much is queued; HTTP/2 flow control does the rest,
because gRPC takes the next frame only when the last one has gone out. A peer link has no budget: it runs in lockstep,
so what can be queued is one round.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import BinaryIO

import grpc
import numpy as np

from secure.parties.transport.failures import rebuild
from secure.parties.transport.frames import AnyFrame, DataFrame
from secure.parties.transport.send_queue import SendQueue
from secure.parties.transport.wire_pb2 import Accept, End, Frame, Hello
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import PartyLost, ProtocolError, SecureInferenceError

MAX_MESSAGE_BYTES = 1 << 30
"""Largest logical message of a protocol. A larger one is a defect or an attack, not a model."""


class Traffic:
    """What one link carried: bytes of payload and logical messages, each way; and how long its reader waited."""

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.messages_sent = 0
        self.messages_received = 0
        self.waited_seconds = 0.0


class Link:
    """One end of one stream to `peer`. Made by the server's handlers and by the dialer."""

    def __init__(
        self,
        peer: str,
        incoming: Iterator[AnyFrame],
        cancel: Callable[[], object],
        send_budget_bytes: int | None = None,
    ) -> None:
        self.peer = peer
        self.traffic = Traffic()
        self.step: Callable[[], str] = _handshake
        self.on_lost: Callable[[str], None] | None = None
        self.on_failure: Callable[[SecureInferenceError], None] | None = None
        """Told of a failure that the peer reports while `look_ahead` reads."""
        self.lost_detail = ""
        self.heard_at = 0.0
        """When the last frame was taken, on the monotonic clock."""
        self.wait_until_complete: Callable[[], None] | None = None
        """Returns when the peer's End has come, however much it sent before; for links that are read ahead."""
        self._incoming = incoming
        self._ahead: Future[AnyFrame] | None = None
        self._cancel = cancel
        self._outgoing = SendQueue(send_budget_bytes)
        self.lost = False
        """Whether the stream is over, and not in good order."""
        self.finished = False
        """Whether this side has said that it will send no more."""
        self._received_frames = 0

    # sending

    def post(self, frame: Frame) -> None:
        """Queue one control frame."""
        self._outgoing.put_frame(frame)

    def send_message(self, payload: Payload) -> None:
        """Queue one logical message. Blocks while the budget is used up; raises PartyLost when the stream is gone."""
        if not self._outgoing.put_message(payload):
            raise self._lost("the stream is closed")
        self.traffic.messages_sent += 1
        self.traffic.bytes_sent += len(payload)

    def finish(self) -> None:
        """Nothing more will be sent: what is queued still goes out, then this direction ends."""
        self.finished = True
        self._outgoing.finish()

    def outgoing_frames(self) -> Iterator[AnyFrame]:
        """Frames that gRPC asks for, one after the other."""
        return self._outgoing.frames()

    # receiving

    def next_frame(self) -> AnyFrame:
        """The next frame, in order. Raises what the peer reported, or PartyLost when the stream ended."""
        ahead, self._ahead = self._ahead, None
        began = time.monotonic()
        try:
            frame = next(self._incoming) if ahead is None else ahead.result()
        except (StopIteration, grpc.RpcError) as error:
            raise self._lost(_describe(error)) from None
        if frame.sequence != self._received_frames:
            raise ProtocolError(f"frame {frame.sequence} from {self.peer} came where {self._received_frames} was due")
        self._received_frames += 1
        self.heard_at = time.monotonic()
        self.traffic.waited_seconds += self.heard_at - began
        if isinstance(frame, Frame) and frame.HasField("failure"):
            raise rebuild(frame.failure)
        return frame

    def look_ahead(self) -> None:
        """Have a thread read the next frame while the caller waits for somebody else, and tell of a failure at once.

        gRPC says that a stream is over only when all that came before has been read.
        """
        if self._ahead is None:
            self._ahead = Future()
            threading.Thread(target=self._read_ahead, args=(self._ahead,), name="look-ahead", daemon=True).start()

    def peek(self) -> AnyFrame:
        """The next frame, which stays the next one to be received. Raises PartyLost when the stream ended."""
        if self._ahead is None:
            self._ahead = Future()
            self._read_ahead(self._ahead)
        try:
            return self._ahead.result()
        except (StopIteration, grpc.RpcError) as error:
            raise self._lost(_describe(error)) from None

    def receive(self, max_bytes: int = MAX_MESSAGE_BYTES) -> Frame | memoryview:
        """The next control frame, or the next logical message, whole. Raises PartyLost or ProtocolError."""
        first = self.next_frame()
        if isinstance(first, Frame):
            return first
        total = first.message_bytes
        if total > max_bytes:
            raise ProtocolError(f"{self.peer} announces a message of {total} bytes; at most {max_bytes} are allowed")
        view = memoryview(first.chunk)
        if len(view) != total:
            view, filled = np.empty(total, dtype=np.uint8).data, 0
            for chunk in self._chunks(first):
                view[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        self.traffic.messages_received += 1
        self.traffic.bytes_received += total
        return view

    def receive_message(self, max_bytes: int = MAX_MESSAGE_BYTES) -> memoryview:
        """The next logical message, whole. Raises PartyLost, or ProtocolError when something else comes."""
        message = self.receive(max_bytes)
        if isinstance(message, Frame):
            raise ProtocolError(f"{self.peer} sent {message.WhichOneof('control')} where a message was due")
        return message

    def receive_file(self, file: BinaryIO, check: Callable[[int], None]) -> None:
        """Write the next logical message to a file as it comes. `check` is told its size first, and may raise."""
        frame = self.next_frame()
        if isinstance(frame, Frame):
            raise ProtocolError(f"{self.peer} sent {frame.WhichOneof('control')} where a file was due")
        check(frame.message_bytes)
        for chunk in self._chunks(frame):
            file.write(chunk)
        self.traffic.messages_received += 1
        self.traffic.bytes_received += frame.message_bytes

    def expect_hello(self) -> Hello:
        frame = self.next_frame()
        if isinstance(frame, Frame) and frame.HasField("hello"):
            return frame.hello
        raise ProtocolError(f"{self.peer} began its stream with something other than a Hello")

    def expect_accept(self) -> Accept:
        frame = self.next_frame()
        if isinstance(frame, Frame) and frame.HasField("accept"):
            return frame.accept
        raise ProtocolError(f"{self.peer} answered a Hello with something other than an Accept")

    def expect_end(self, *, discard: bool = False) -> None:
        """Wait until the peer says that it is done. Raises ProtocolError when it has something else to say.

        discard: messages that come before are dropped instead.
        """
        frame = self.next_frame()
        while discard and isinstance(frame, DataFrame):
            frame = self.next_frame()
        if not (isinstance(frame, Frame) and frame.HasField("end")):
            raise ProtocolError(f"{self.peer} sent a message that no step of this session reads")

    def post_end(self) -> None:
        """Say that this side is done, and send no more."""
        self.post(Frame(end=End()))
        self.finish()

    # ending

    def cancel(self) -> None:
        """Drop the stream now, in both directions."""
        self._outgoing.close()
        self._cancel()

    def stream_ended(self, detail: str | None) -> None:
        """Called by gRPC when the stream is over; `detail` is None when it ended in good order."""
        self._outgoing.close()
        self.lost = detail is not None
        if self.on_lost is not None and detail is not None:
            self.on_lost(detail)

    def _chunks(self, first: DataFrame) -> Iterator[Payload]:
        """The chunks of the message that a frame begins. Raises ProtocolError when they do not add up to its length."""
        frame, total, filled = first, first.message_bytes, 0
        while True:
            filled += len(frame.chunk)
            if filled > total or (filled < total and not len(frame.chunk)):
                raise ProtocolError(f"{self.peer} sent chunks that do not add up to the {total} bytes it announced")
            yield frame.chunk
            if filled == total:
                return
            following = self.next_frame()
            if not isinstance(following, DataFrame) or following.message_bytes != total:
                raise ProtocolError(f"{self.peer} began a message before the last one was complete")
            frame = following

    def _read_ahead(self, ahead: Future[AnyFrame]) -> None:
        try:
            frame = next(self._incoming)
        except Exception as error:
            ahead.set_exception(error)  # for whoever asks for the frame
            return
        ahead.set_result(frame)
        if isinstance(frame, Frame) and frame.HasField("failure") and self.on_failure is not None:
            self.on_failure(rebuild(frame.failure))

    def _lost(self, detail: str) -> PartyLost:
        self.lost_detail = detail
        return PartyLost(self.peer, self.step(), detail)


class GrpcChannel(Channel):
    """The `Channel` of a protocol over one link. Create it after the handshake."""

    def __init__(self, link: Link) -> None:
        self.peer = link.peer
        self._link = link

    def send(self, payload: Payload) -> None:
        self._link.send_message(payload)

    def receive(self) -> memoryview:
        return self._link.receive_message()


def _handshake() -> str:
    return "the handshake"


def _describe(error: StopIteration | grpc.RpcError) -> str:
    """How a stream ended, on one line; a broken one in gRPC's own words."""
    if isinstance(error, StopIteration):
        return "it closed the stream"
    if isinstance(error, grpc.Call):
        code = error.code()
        name = code.name.lower() if code is not None else "unknown"
        return f"{name} {' '.join((error.details() or '').split())[:500]}".strip()  # TLS's reason stands last
    return "the stream was cancelled"
