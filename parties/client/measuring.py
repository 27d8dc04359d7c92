"""The links between the machines of a parties.toml, as they are seen from one of them."""

from __future__ import annotations

from collections.abc import Sequence

from secure.models.latency import Link
from secure.parties.config import PartiesSettings
from secure.parties.session import probe
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Hello


def measure_links(settings: PartiesSettings, role: str, peers: Sequence[str]) -> dict[frozenset[str], Link]:
    """From a role, whose certificate is here, to each of the peers.

    Raises PartyUnreachable for one that does not answer, or that is older than this stream, and what it reports.
    """
    dialer = Dialer(settings, role)
    try:
        return {frozenset((role, peer)): _measured(dialer, settings, peer) for peer in peers}
    finally:
        dialer.close()


def _measured(dialer: Dialer, settings: PartiesSettings, peer: str) -> Link:
    hello = Hello(
        protocol_version=PROTOCOL_VERSION, session=new_session_id(), role=dialer.role, family=settings.protocol
    )
    link, _ = dialer.dial(peer, "Probe", hello)
    return probe.measure(link)
