"""Ends streams of a peer whose certificate is taken back, or whose authority a role trusts no longer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from cryptography import x509

from secure.parties.transport.certificates.own import Own
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.link import Link
from secure.parties.transport.tls import certificate_role, check_trust, peer_certificate
from secure.protocols.core.errors import HandshakeError

_LOOK_SECONDS = 2.0
_LOG = logging.getLogger("parties")


@dataclass
class _Peer:
    role: str
    certificate: x509.Certificate
    end: Callable[[Exception], None]


class TrustWatch:
    """The one thread of a server that looks whether its certificates, or whom it trusts, have changed."""

    def __init__(self, dialer: Dialer) -> None:
        self._live = dialer.certificates
        self._dialer = dialer
        self._peers: dict[Link, _Peer] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._look, name="trust", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def admit(
        self, link: Link, context: grpc.ServicerContext, roles: tuple[str, ...], end: Callable[[Exception], None]
    ) -> str:
        """The role of whoever has opened a stream, which from now on is looked at. Raises HandshakeError.

        end: told why the stream is to end, when its certificate no longer counts.
        """
        role, certificate = certificate_role(context.auth_context(), roles), peer_certificate(context.auth_context())
        # First watched, then checked: a change between the two is seen by one or the other.
        with self._lock:
            self._peers[link] = _Peer(role, certificate, end)
        if not context.add_callback(lambda: self._forget(link)):
            self._forget(link)
        check_trust(certificate, role, self._live.current().trust)
        return role

    def _forget(self, link: Link) -> None:
        with self._lock:
            self._peers.pop(link, None)

    def _look(self) -> None:
        seen = self._live.current()
        while not self._stopping.wait(_LOOK_SECONDS):
            own = self._live.current()
            if own is not seen:
                seen = own
                self._apply(own)

    def _apply(self, own: Own) -> None:
        self._dialer.refresh()
        with self._lock:
            peers = list(self._peers.values())
        for peer in peers:
            try:
                check_trust(peer.certificate, peer.role, own.trust)
            except HandshakeError as error:
                _LOG.warning("a stream of %s ends: %s", peer.role, error)
                peer.end(error)
