"""Opens streams to other roles: over TLS that accepts only their certificate, within a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import grpc

from secure.parties.config import PartiesSettings
from secure.parties.transport.certificates.own import LiveCertificates, Own
from secure.parties.transport.frames import MAX_FRAME_BYTES, AnyFrame, decode, encode
from secure.parties.transport.link import Link
from secure.parties.transport.prefetch import shaped
from secure.parties.transport.tls import channel_credentials, channel_name_options
from secure.parties.transport.tls_failures import in_words, reason_in_words
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import HandshakeError, PartyLost, PartyUnreachable, SessionError

SERVICE = "secure_inference.Party"
RETRY_SECONDS = 0.1
CLAIM_SECONDS = 2.0
"""By so much longer than for a connection a role waits for one that connects to it: who connects knows why it fails."""
OFFER_SECONDS = 3.0
"""By so much longer a role keeps a stream that no session of its own asks for: the session may wait for another one."""
TELL_SECONDS = 1.0
"""How long a role may take to hear why a session ends."""

COMMON_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    # A silent peer is found out within four seconds.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.write_buffer_size", 4 << 20),
]
CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    *COMMON_OPTIONS,
    # A proxy would be a fourth machine that sees who talks to whom, and few of them pass on what we send. The first
    # option makes gRPC ignore http_proxy, https_proxy and grpc_proxy, the second one GRPC_ADDRESS_HTTP_PROXY, which it
    # heeds for the addresses listed here: none.
    ("grpc.enable_http_proxy", 0),
    ("grpc.address_http_proxy_enabled_addresses", ""),
    # A retry would replay messages of a session, and buffers every byte to be able to.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]
# How grpcio words it, in the details of a failed connection.
_REFUSED_BY_US = ("Verification Check failed", "Tls handshake failed", "CERTIFICATE_VERIFY_FAILED")
_REFUSED_BY_THEM = ("failed to connect", "Socket closed")


class Dialer:
    """The channels from one role to the others; each is opened at first use and then kept while certificates stay.

    After a rotation the next stream opens a channel with the new ones, and those on the old one go on. Where an
    authority is no longer trusted for a peer, what goes on with that peer ends.
    """

    def __init__(self, settings: PartiesSettings, role: str) -> None:
        self.role = role
        self._settings = settings
        self.certificates = LiveCertificates(settings.tls_dir, role)
        self._channels: dict[str, tuple[Own, grpc.Channel]] = {}
        self._retired: list[grpc.Channel] = []
        self._closed = False
        self._lock = threading.Lock()

    def channel(self, peer: str) -> grpc.Channel:
        """The gRPC channel to `peer`. Raises SessionError after `close`."""
        with self._lock:
            if self._closed:
                raise SessionError(f"{self.role}'s connections to the parties were closed; launch or connect again")
            self._drop_outdated()
            if peer not in self._channels:
                own, options = self.certificates.current(), [*CHANNEL_OPTIONS, *channel_name_options(peer)]
                address = self._settings.parties[peer].address
                channel = grpc.secure_channel(address, channel_credentials(own, peer), options=options)
                self._channels[peer] = own, channel
            return self._channels[peer][1]

    def refresh(self) -> None:
        """Heed certificates that have changed now, and not when the next stream is opened."""
        with self._lock:
            self._drop_outdated()

    def dial(
        self,
        peer: str,
        stream: str,
        hello: Hello,
        send_budget_bytes: int | None = None,
        opened: Callable[[Link], None] | None = None,
        first: Sequence[Payload] = (),
        metadata: Sequence[tuple[str, str]] = (),
    ) -> tuple[Link, Accept]:
        """Open `stream` at `peer` and wait for its Accept.

        opened: called with each link that may become the one; it may cancel it from any thread, and raise to give up.
        first: messages that follow the Hello without waiting. TLS has told by then who reads them, and nothing else is
        known of the peer. metadata: of the call, beside what the Hello says.

        Raises PartyUnreachable after the rendezvous time, HandshakeError when TLS refuses the other side's certificate
        or the peer refuses ours, and whatever the peer reports.
        """
        seconds = self._settings.limits.rendezvous_seconds
        # The peer itself waits for others before it answers; let its report arrive.
        answer_deadline = time.monotonic() + seconds + OFFER_SECONDS + 1.0
        connect_deadline = time.monotonic() + seconds
        while True:
            link = self._open(peer, stream, send_budget_bytes, metadata)
            if opened is not None:
                opened(link)
            link.post(Frame(hello=hello))
            timer = _cancelling(link, answer_deadline - time.monotonic())
            try:
                with suppress(PartyLost):  # reading tells why
                    for message in first:
                        link.send_message(message)
                return link, link.expect_accept()
            except PartyLost:
                late = time.monotonic() + RETRY_SECONDS > connect_deadline
                where = f"{self.role} dialling {peer} at {self._settings.parties[peer].address}"
                check_certificates_were_taken(self.role, peer, where, link.lost_detail, late)
                if late:
                    address, reason = self._settings.parties[peer].address, reason_in_words(link.lost_detail)
                    raise PartyUnreachable(peer, address, seconds, self.role, reason) from None
                time.sleep(RETRY_SECONDS)
            finally:
                timer.cancel()

    def tell(self, peer: str, hello: Hello, failure: Frame) -> None:
        """Say to `peer` why the session of `hello` ends, whatever it reads at the moment. Raises where it cannot."""
        link = self._open(peer, "Abandon", None)
        link.post(Frame(hello=hello))
        link.post(failure)
        timer = _cancelling(link, TELL_SECONDS)
        try:
            link.expect_end()
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close every channel; streams still open on them are cancelled. No other one is opened any more."""
        with self._lock:
            self._closed = True
            for channel in (*(channel for _, channel in self._channels.values()), *self._retired):
                channel.close()
            self._channels.clear()
            self._retired.clear()

    def _drop_outdated(self) -> None:
        """Take channels of certificates that have been replaced out of use. The lock is held."""
        own = self.certificates.current()
        for peer, (used, channel) in list(self._channels.items()):
            if used is own:
                continue
            del self._channels[peer]
            if set(used.trust.authorities[peer]) <= set(own.trust.authorities[peer]):
                self._retired.append(channel)
            else:
                channel.close()

    def _open(
        self, peer: str, stream: str, send_budget_bytes: int | None, metadata: Sequence[tuple[str, str]] = ()
    ) -> Link:
        method = self.channel(peer).stream_stream(f"/{SERVICE}/{stream}", encode, decode)
        # gRPC asks for the outgoing frames before it returns the call that the link reads from.
        late = _Late()
        call = method(late, metadata=tuple(metadata))
        incoming = shaped(iter(call), self._settings.measure)
        link = Link(peer, incoming, call.cancel, send_budget_bytes)
        late.attach(link.outgoing_frames())

        def ended() -> None:
            ok = call.code() is grpc.StatusCode.OK
            link.stream_ended(None if ok else f"{call.code().name.lower()} {call.details() or ''}".strip())

        if not call.add_callback(ended):
            ended()
        return link


def _cancelling(link: Link, seconds: float) -> threading.Timer:
    """A timer that drops the link, unless it is cancelled before."""
    timer = threading.Timer(seconds, link.cancel)
    timer.daemon = True
    timer.start()
    return timer


class _Late(Iterator[AnyFrame]):
    """An iterator whose frames are attached after it was handed out."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._frames: Iterator[AnyFrame] = iter(())

    def attach(self, frames: Iterator[AnyFrame]) -> None:
        self._frames = frames
        self._ready.set()

    def __next__(self) -> AnyFrame:
        self._ready.wait()
        return next(self._frames)


def check_certificates_were_taken(role: str, peer: str, where: str, detail: str, late: bool) -> None:
    """Raise HandshakeError when a connection of `role` to `peer` failed over certificates.

    detail: what grpcio says about the failure. late: whether it went on for the whole time limit.
    """
    if any(words in detail for words in _REFUSED_BY_US):
        raise HandshakeError("certificate", f"{peer}'s, from our authority", in_words(detail), where)
    # A party that is just stopping closes connections too; one that does so all the time does not want ours.
    if late and all(words in detail for words in _REFUSED_BY_THEM):
        raise HandshakeError("certificate", f"{role}'s, from our authority", "refuses it", where)
