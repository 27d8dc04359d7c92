"""Places, turns, quotas and the end of serving, without a network."""

from __future__ import annotations

import threading
from concurrent import futures
from contextlib import ExitStack

import pytest

from secure.parties.config import Limits, Quota
from secure.parties.session.client_watch import ClientWatch
from secure.parties.session.places import Places, _Taken
from secure.parties.session.quota import Quotas
from secure.parties.session.session import Session
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import HandshakeError, ServerBusy
from tests.parties.local import eventually

ALICE, BOB = Identity("client", "alice"), Identity("client", "bob")
OWNER = Identity("owner", "owner")
DAY = 86400.0


def session(name: str, identity: Identity = ALICE, kind: Kind.ValueType = Kind.KIND_PREDICT) -> Session:
    link = Link("client", iter(()), lambda: None)
    return Session("p0", Hello(session=name, kind=kind), link, ClientWatch(link, "p0", 60.0), identity)


def admission(quota: Quota | None = None, clock: float = 10 * DAY, **limits: float) -> Places:
    held = Limits(**{"sessions": 1, "rendezvous_seconds": 60.0, **limits})  # type: ignore[arg-type]
    return Places("p0", held, Quotas("p0", quota or Quota(), lambda: clock))


def never_told(place: int) -> None: ...


def test_a_place_that_is_taken_is_refused_with_the_reason_and_a_time() -> None:
    places = admission(sessions=2)
    with places.place(session("a")), places.place(session("b", BOB)):
        with (
            pytest.raises(ServerBusy, match=r"p0 already serves 2 of the 2 sessions .* try again in about 1 s") as busy,
            places.place(session("c")),
        ):
            pass
        assert busy.value.retry_after_seconds == 1.0
    assert places.taken == 0
    with places.place(session("c")):
        assert places.taken == 1


class Waiting:
    """Clients that wait for their turns, each in a thread; `order` is that in which the turns came."""

    def __init__(self, places: Places, pool: futures.ThreadPoolExecutor) -> None:
        self._places = places
        self._pool = pool
        self.order: list[str] = []
        self.told: dict[str, list[int]] = {}
        self.turns: dict[str, futures.Future[bool]] = {}

    def begin(self, name: str, identity: Identity) -> None:
        before = self._places.waiting

        def wait() -> bool:
            came = self._places.wait_for_turn(name, identity, self.told.setdefault(name, []).append)
            self.order.append(name)
            return came

        self.turns[name] = self._pool.submit(wait)
        eventually(lambda: self._places.waiting == before + 1)


def test_turns_go_round_among_identities_and_each_is_told_its_place() -> None:
    places = admission()
    with futures.ThreadPoolExecutor(8) as pool:
        waiting = Waiting(places, pool)
        with places.place(session("first")):
            for name in ("a1", "a2", "a3"):
                waiting.begin(name, ALICE)
            waiting.begin("b1", BOB)
            # Whoever has not waited does not come before those who do.
            with pytest.raises(ServerBusy, match="4 clients wait for a place"), places.place(session("late", OWNER)):
                pass
        for number, name in enumerate(("a1", "b1", "a2", "a3")):
            assert waiting.turns[name].result(60)
            eventually(lambda due=number + 1: len(waiting.order) == due)  # type: ignore[misc]
            with places.place(session(name, BOB if name == "b1" else ALICE)):
                assert places.taken == 1
        assert waiting.order == ["a1", "b1", "a2", "a3"]
        assert waiting.told["a1"] == [1] and waiting.told["a2"][:2] == [2, 3] and waiting.told["b1"][0] == 2
        assert places.waiting == 0


def test_a_kept_place_is_for_its_own_session_and_identity_and_not_for_ever() -> None:
    places = admission(rendezvous_seconds=0.05)
    assert places.wait_for_turn("a", ALICE, never_told)
    with pytest.raises(ServerBusy, match="already serves 1 of the 1 sessions"), places.place(session("a", BOB)):
        pass
    # Nobody came for it: whoever waits gets it when its time is over.
    assert places.wait_for_turn("b", BOB, never_told)
    with places.place(session("b", BOB)):
        pass


def test_who_leaves_the_queue_gives_up_its_turn_and_its_place() -> None:
    places = admission()
    with futures.ThreadPoolExecutor(2) as pool:
        waiting = Waiting(places, pool)
        with places.place(session("first")):
            waiting.begin("a", ALICE)
            waiting.begin("b", BOB)
            places.leave("a", BOB)  # whose it is not
            assert places.waiting == 2
            places.leave("a", ALICE)
            assert not waiting.turns["a"].result(60)
        assert waiting.turns["b"].result(60)
        places.leave("b", BOB)
        with places.place(session("c")):
            pass


def test_who_leaves_at_the_moment_of_its_turn_does_not_wait_for_ever() -> None:
    places = admission()
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = Waiting(places, pool)
        with places.place(session("first")):
            waiting.begin("a", ALICE)
            with places._changed:  # so that the thread that waits does not see what comes in between
                places._places.clear()
                places._give_turns()
                places.leave("a", ALICE)
                places._places["first"] = _Taken(ALICE, None)
            assert not waiting.turns["a"].result(60)


def test_a_turn_that_is_overdue_before_its_thread_looks_has_come() -> None:
    places = admission()
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = Waiting(places, pool)
        with places.place(session("first")):
            waiting.begin("a", ALICE)
            with places._changed:  # so that the thread that waits does not see what comes in between
                kept = places._places.pop("first")
                places._give_turns()
                del places._places["a"]
                places._places["first"] = kept
            assert waiting.turns["a"].result(60)


def test_an_id_waits_once() -> None:
    places = admission()
    assert places.wait_for_turn("a", ALICE, never_told)
    with pytest.raises(HandshakeError, match="session id"):
        places.wait_for_turn("a", BOB, never_told)


def test_a_full_queue_and_a_role_that_stops_say_so() -> None:
    places = admission(queue=1)
    with futures.ThreadPoolExecutor(2) as pool, places.place(session("first")):
        waiting = Waiting(places, pool)
        waiting.begin("a", ALICE)
        with pytest.raises(ServerBusy, match="1 clients wait for a place at p0 already"):
            places.wait_for_turn("b", BOB, never_told)
        places.close()
        with pytest.raises(ServerBusy, match="p0 is about to stop") as stops:
            waiting.turns["a"].result(60)
        assert stops.value.retry_after_seconds is None
        with pytest.raises(ServerBusy, match="p0 is about to stop"), places.place(session("c")):
            pass


def test_quotas_are_of_each_client_by_itself() -> None:
    places = admission(Quota(sessions=1, predictions_per_day=2), sessions=9)
    with places.place(session("a")):
        with pytest.raises(ServerBusy, match="alice has 1 sessions at p0, where its quota is 1"):
            places.wait_for_turn("b", ALICE, never_told)
        with places.place(session("c", BOB)):
            pass
    with places.place(session("d", kind=Kind.KIND_LOAD)), places.place(session("o", OWNER)):
        pass
    with places.place(session("e")):
        pass
    with (
        pytest.raises(
            ServerBusy, match=r"alice has had 2 predictions of p0 today.* 24.0 hours, at midnight UTC"
        ) as over,
        places.place(session("f")),
    ):
        pass
    assert over.value.retry_after_seconds == DAY


def test_bytes_count_and_a_new_day_begins_anew() -> None:
    now = [10 * DAY + 3600]
    quotas = Quotas("p1", Quota(bytes_per_day=1000), lambda: now[0])
    places = Places("p1", Limits(), quotas)
    used = session("a")
    with places.place(used):
        used.run.traffic.bytes_received, used.run.traffic.bytes_sent = 900, 100
    with (
        pytest.raises(ServerBusy, match=r"alice has had 1.00 kB of p1 today.* 23\.0 hours"),
        places.place(session("b")),
    ):
        pass
    now[0] += DAY
    with places.place(session("b")):
        pass


def test_places_hold_in_a_crowd() -> None:
    """More threads than places, of clients that leave at random: never more in than there are places, none lost."""
    places = admission(sessions=3, queue=64)
    inside, most, lock = 0, 0, threading.Lock()

    def one(number: int) -> None:
        nonlocal inside, most
        identity = Identity("client", f"c{number % 5}")
        with ExitStack() as stack:
            try:
                stack.enter_context(places.place(session(f"s{number}", identity)))
            except ServerBusy:
                if number % 7 == 0:
                    threading.Timer(0.001, places.leave, [f"t{number}", identity]).start()
                if not places.wait_for_turn(f"t{number}", identity, never_told):
                    return
                try:
                    stack.enter_context(places.place(session(f"t{number}", identity)))
                except ServerBusy:
                    return  # it left between its turn and its place
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.001)
            with lock:
                inside -= 1

    with futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(60)))
    assert 1 < most <= 3 and places.taken == places.waiting == 0
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(places.place(session(f"z{number}")))
