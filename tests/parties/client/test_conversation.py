"""Sessions of several steps with three servers in this process: inputs follow outputs, and either side may stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.client.conversation import Conversation
from secure.parties.config import PARTIES, Measure, PartiesSettings
from secure.parties.transport.wire_pb2 import Frame, Progress
from secure.protocols.core.errors import PartyLost, ProtocolError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually


def talk(conversation: Conversation, steps: int) -> None:
    """Each step's input is made of the output before."""
    text = b"ab"
    for _ in range(steps):
        first, second = conversation.step((text, text + b"!"))
        assert (first, second) == (text[::-1], b"!" + text[::-1])
        text = first + b"c"


def ids(manifest: FakeManifest) -> tuple[str, str]:
    return manifest.digest, manifest.policy.digest()


def test_every_step_answers_its_input(client: Client, manifest: FakeManifest) -> None:
    request = FakeRequest(layers=3, steps=4)
    with client.converse(*ids(manifest), request, 4) as conversation:
        talk(conversation, 4)
    reports = conversation.costs.reports
    # Per step and layer one message of p0 and p1; corrections of four steps, and the seed.
    assert reports["p0"].wire_bytes_sent["p1"] == 4 * 3 * 64
    assert reports["dealer"].wire_bytes_sent["p1"] == 16 + 4 * 3 * 64
    # The client told the dealer three times to go on, with nothing in it.
    assert reports["dealer"].wire_bytes_received == {"p0": 0, "p1": 0, "client": 0}


def test_the_client_may_stop_before_the_last_step(
    client: Client, manifest: FakeManifest, local_parties: LocalParties
) -> None:
    request = FakeRequest(layers=3, steps=100)
    with client.converse(*ids(manifest), request, 100) as conversation:
        talk(conversation, 5)
    # The dealer was one step ahead, no more.
    assert conversation.costs.reports["dealer"].wire_bytes_sent["p1"] == 16 + 6 * 3 * 64
    assert conversation.costs.reports["p0"].wire_bytes_sent["p1"] == 5 * 3 * 64
    eventually(lambda: all(server.sessions == 0 for server in local_parties.servers.values()))
    with client.converse(*ids(manifest), FakeRequest(steps=2), 2) as conversation:
        talk(conversation, 2)


def test_a_session_without_a_single_step(client: Client, manifest: FakeManifest) -> None:
    with client.converse(*ids(manifest), FakeRequest(steps=3), 3) as conversation:
        pass
    assert conversation.costs.reports["p0"].wire_bytes_sent["p1"] == 0


def test_more_steps_than_agreed_are_refused(client: Client, manifest: FakeManifest) -> None:
    with (
        pytest.raises(ProtocolError, match="the session has 1 steps, all are done"),
        client.converse(*ids(manifest), FakeRequest(), 1) as conversation,
    ):
        talk(conversation, 2)


def test_a_failure_at_a_later_step_reaches_the_client(client: Client, manifest: FakeManifest) -> None:
    request = FakeRequest(layers=2, steps=3, fail_at="p1 1")
    with (
        pytest.raises(ProtocolError, match="p1 was told to fail at layer 1"),
        client.converse(*ids(manifest), request, 3) as conversation,
    ):
        talk(conversation, 3)


def test_a_party_that_dies_between_steps_is_named(
    client: Client, manifest: FakeManifest, local_parties: LocalParties
) -> None:
    with (
        pytest.raises(PartyLost, match="p1"),
        client.converse(*ids(manifest), FakeRequest(steps=9), 9) as conversation,
    ):
        talk(conversation, 2)
        local_parties.stop("p1")
        talk(conversation, 2)


def test_an_error_of_the_caller_ends_the_session_everywhere(
    client: Client, manifest: FakeManifest, local_parties: LocalParties
) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        client.converse(*ids(manifest), FakeRequest(steps=9), 9) as conversation,
    ):
        talk(conversation, 2)
        raise ZeroDivisionError
    eventually(lambda: all(server.sessions == 0 for server in local_parties.servers.values()))


def test_phases_apart_with_several_steps(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    parties = LocalParties(replace(settings, measure=Measure(offline_first=True)))
    manifest = FakeManifest()
    with Client(parties.settings) as client:
        client.load_model(manifest, shares)
        with client.converse(*ids(manifest), FakeRequest(layers=2, steps=3), 3) as conversation:
            talk(conversation, 3)
        assert conversation.costs.offline_seconds is not None
        # All three steps were dealt before the first input.
        assert conversation.costs.reports["dealer"].wire_bytes_sent["p1"] == 16 + 3 * 2 * 64
    parties.stop_all()


def end_while_idle(conversation: Conversation, parties: LocalParties, end: Callable[[], None]) -> None:
    """Between two steps `end` happens; the session is over everywhere before the client asks for anything."""
    talk(conversation, 2)
    end()
    eventually(lambda: all(server.sessions == 0 for server in parties.servers.values()))
    talk(conversation, 1)


@pytest.mark.parametrize("dead", ["p1", "dealer"])
def test_a_party_that_dies_ends_the_session_while_the_client_does_nothing(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, dead: str
) -> None:
    with (
        pytest.raises(PartyLost, match=f"^{dead} went away"),
        client.converse(*ids(manifest), FakeRequest(steps=9), 9) as conversation,
    ):
        end_while_idle(conversation, local_parties, lambda: local_parties.stop(dead))


@pytest.mark.parametrize("failing", PARTIES)
def test_a_failure_ends_the_session_where_others_wait_for_the_client(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, failing: str
) -> None:
    """One role gets what is no input; the others read nothing from it then."""
    with (
        pytest.raises(ProtocolError, match=r"^client sent progress where an input was due"),
        client.converse(*ids(manifest), FakeRequest(steps=9), 9) as conversation,
    ):
        link = conversation._run.links[failing]
        end_while_idle(conversation, local_parties, lambda: link.post(Frame(progress=Progress())))
