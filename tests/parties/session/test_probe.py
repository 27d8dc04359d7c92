"""Measuring the way to a party: what is found, and what a party refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secure.parties.client.measuring import measure_links
from secure.parties.config import Measure
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import HandshakeError, ProtocolError
from tests.parties.local import LocalParties

DELAY_SECONDS, BITS_PER_SECOND = 0.02, 8e8


def test_a_slow_link_is_found_to_be_slow(local_parties: LocalParties) -> None:
    """Every stream is held back where it is received, here and there: a round trip has two delays."""
    near = measure_links(local_parties.settings, "client", ["p0"])[frozenset(("client", "p0"))]
    slow = replace(
        local_parties.settings, measure=Measure(delay_seconds=DELAY_SECONDS, bytes_per_second=BITS_PER_SECOND / 8)
    )
    local_parties.stop("p0")
    local_parties.own["p0"] = slow
    local_parties.start("p0")
    far = measure_links(slow, "client", ["p0"])[frozenset(("client", "p0"))]
    assert far.round_trip_seconds >= 2 * DELAY_SECONDS > near.round_trip_seconds
    assert far.bits_per_second <= 1.05 * BITS_PER_SECOND


def test_parties_measure_each_other(local_parties: LocalParties) -> None:
    found = measure_links(local_parties.settings, "dealer", ["p0", "p1"])
    assert set(found) == {frozenset(("dealer", "p0")), frozenset(("dealer", "p1"))}
    assert all(link.round_trip_seconds > 0 and link.bits_per_second > 0 for link in found.values())


def test_nobody_measures_under_another_name(local_parties: LocalParties) -> None:
    settings = local_parties.settings
    dialer = Dialer(settings, "client")
    try:
        hello = Hello(protocol_version=PROTOCOL_VERSION, session=new_session_id(), role="p0", family=settings.protocol)
        with pytest.raises(HandshakeError, match="certificate's"):
            dialer.dial("p1", "Probe", hello)
    finally:
        dialer.close()


@pytest.mark.parametrize(("size", "count", "said"), [(9 << 20, 1, "at most 8388608"), (1, 20, "more than 14 messages")])
def test_a_party_takes_no_more_than_a_measurement_has(
    size: int, count: int, said: str, local_parties: LocalParties
) -> None:
    settings = local_parties.settings
    dialer = Dialer(settings, "client")
    try:
        hello = Hello(
            protocol_version=PROTOCOL_VERSION, session=new_session_id(), role="client", family=settings.protocol
        )
        link, _ = dialer.dial("p0", "Probe", hello)
        with pytest.raises(ProtocolError, match=said):
            for _ in range(count):
                link.send_message(bytes(size))
                link.receive_message()
    finally:
        dialer.close()
