"""Parties that serve as many sessions as they may, or are about to stop: what their clients see, over gRPC."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from secure.parties.client.client import Client
from secure.parties.client.run import Progress
from secure.parties.config import PartiesSettings, Quota
from secure.protocols.core.errors import ServerBusy, SessionError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

MANIFEST, REQUEST = FakeManifest(), FakeRequest()


class Held:
    """Sessions that go on until `let_go`; each holds a place at every role."""

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self._release = threading.Event()
        self._pool = futures.ThreadPoolExecutor(count)
        self._begun = threading.Semaphore(0)
        self.runs = [self._pool.submit(self._hold) for _ in range(count)]
        for _ in range(count):
            self._begun.acquire()

    def _hold(self) -> None:
        with self._client.converse(MANIFEST.digest, MANIFEST.policy.digest(), REQUEST, 1) as conversation:
            self._begun.release()
            self._release.wait()
            conversation.step((b"ab", b"cd"))

    def let_go(self) -> None:
        self._release.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_go()
        self._pool.shutdown()


def predict(client: Client, told: list[Progress] | None = None) -> None:
    client.predict(
        MANIFEST.digest, MANIFEST.policy.digest(), REQUEST, (b"ab", b"cd"), None if told is None else told.append
    )


@pytest.fixture
def one_at_a_time(settings: PartiesSettings) -> PartiesSettings:
    return replace(settings, limits=replace(settings.limits, sessions=1, busy_seconds=60.0))


@pytest.fixture
def parties(one_at_a_time: PartiesSettings) -> Iterator[LocalParties]:
    parties = LocalParties(one_at_a_time)
    yield parties
    parties.stop_all()


@pytest.fixture
def client(parties: LocalParties, shares: dict[str, Path]) -> Iterator[Client]:
    with Client(parties.settings) as client:
        client.load_model(MANIFEST, shares)
        yield client


def places(parties: LocalParties) -> list[int]:
    return [server._places.taken + server._places.waiting for server in parties.servers.values()]


def test_a_client_that_does_not_wait_is_told_at_once(parties: LocalParties, client: Client) -> None:
    hurried = replace(parties.settings, limits=replace(parties.settings.limits, busy_seconds=0.0))
    with Client(hurried) as other, Held(client, 1):
        other._load_ids, other._profiles = client._load_ids, client._profiles
        with pytest.raises(ServerBusy, match=r"already serves 1 of the 1 sessions that its \[limits\] allow") as busy:
            predict(other)
        assert busy.value.retry_after_seconds is not None
    eventually(lambda: places(parties) == [0, 0, 0])


def test_a_client_waits_for_its_turn_and_is_told_its_place(parties: LocalParties, client: Client) -> None:
    told: list[Progress] = []
    with futures.ThreadPoolExecutor(1) as pool, Held(client, 1) as held:
        waiting = pool.submit(predict, client, told)
        eventually(lambda: parties.servers["p0"]._places.waiting == 1)
        held.let_go()
        waiting.result(60)
    assert told[0] == Progress("p0", "waiting, place 1 of the queue", 0)
    eventually(lambda: places(parties) == [0, 0, 0])


def test_many_clients_take_turns(parties: LocalParties, client: Client) -> None:
    with futures.ThreadPoolExecutor(6) as pool:
        for run in [pool.submit(predict, client) for _ in range(6)]:
            run.result(60)
    eventually(lambda: places(parties) == [0, 0, 0])


def test_a_client_that_goes_away_leaves_the_queue(parties: LocalParties, client: Client) -> None:
    with futures.ThreadPoolExecutor(1) as pool, Held(client, 1):
        with Client(parties.settings) as other:
            other._load_ids, other._profiles = client._load_ids, client._profiles
            waiting = pool.submit(predict, other)
            eventually(lambda: parties.servers["p0"]._places.waiting == 1)
        assert isinstance(waiting.exception(60), SessionError)
        eventually(lambda: parties.servers["p0"]._places.waiting == 0)


def test_a_cancelled_session_frees_its_place_at_all_roles(parties: LocalParties, client: Client) -> None:
    def stop(event: Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        request = FakeRequest(layers=1_000_000)
        client.predict(MANIFEST.digest, MANIFEST.policy.digest(), request, (b"ab", b"cd"), stop)
    eventually(lambda: places(parties) == [0, 0, 0])
    predict(client)


def test_a_quota_that_is_used_up_is_said_and_not_waited_for(
    one_at_a_time: PartiesSettings, shares: dict[str, Path]
) -> None:
    """P1's own file has it, and nobody else's."""
    own = {"p1": replace(one_at_a_time, quota=Quota(predictions_per_day=1))}
    parties = LocalParties(one_at_a_time, own)
    with Client(one_at_a_time) as client:
        client.load_model(MANIFEST, shares)
        predict(client)
        with pytest.raises(ServerBusy, match="client has had 1 predictions of p1 today"):
            predict(client)
        # What p0 and the dealer had opened for it at p1 is not held for the time that a session may take to come.
        eventually(lambda: not parties.servers["p1"]._registry._offers)
    parties.stop_all()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_party_that_stops_lets_sessions_end_unless_told_twice(
    parties: LocalParties, client: Client, at_once: bool
) -> None:
    told_again, server = threading.Event(), parties.servers["p1"]
    with futures.ThreadPoolExecutor(1) as pool, Held(client, 1) as held:
        draining = pool.submit(server.drain, told_again)
        eventually(lambda: client.health(5.0, ["p1"])["p1"] == "not_serving")
        assert not draining.done() and server.sessions == 1
        if at_once:
            told_again.set()
            draining.result(60)
            assert server.sessions == 1
            parties.stop("p1")
            held.let_go()
            assert isinstance(held.runs[0].exception(60), SessionError)
            return
        held.let_go()
        held.runs[0].result(60)
        draining.result(60)
        # Nobody is at fault, and nothing is waited for.
        with pytest.raises(ServerBusy, match="p1 is about to stop and begins no session"):
            predict(client)


def test_a_client_that_waits_at_a_party_that_stops_is_told_why(parties: LocalParties, client: Client) -> None:
    places = parties.servers["p0"]._places
    with futures.ThreadPoolExecutor(1) as pool, Held(client, 1) as held:
        waiting = pool.submit(predict, client)
        eventually(lambda: places.waiting == 1)
        parties.stop("p0")
        held.let_go()
        with pytest.raises(ServerBusy, match="p0 is about to stop and begins no session"):
            waiting.result(60)
        assert isinstance(held.runs[0].exception(60), SessionError)


def test_a_session_that_takes_too_long_is_ended_everywhere(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    short = replace(settings, limits=replace(settings.limits, session_seconds=0.5))
    parties = LocalParties(short)
    with Client(short) as client:
        client.load_model(MANIFEST, shares)
        words = r"the session has taken 0\.5 s at (p\d|dealer), where \[limits\] session_seconds ends it"
        with pytest.raises(SessionError, match=words):
            request = FakeRequest(layers=10_000_000)
            client.predict(MANIFEST.digest, MANIFEST.policy.digest(), request, (b"ab", b"cd"))
        eventually(lambda: all(server.sessions == 0 for server in parties.servers.values()))
    parties.stop_all()
