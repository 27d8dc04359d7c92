"""Branches of a program that share their rounds.

Each branch is a lane with gates of its own. At a party the lanes take turns: each runs until it has a round to make,
and then all that have one make it together, in one message that holds their parts in the order of the lanes. The
dealer, who waits for nobody, deals one lane after the other, and says where one ends. So does a party that works ahead.

*Nothing else changes.* A gate's address has its lane's number above `LANE_BITS`, so the masks that a gate draws do not
depend on whose turn it is, and no two lanes draw the same ones. A branch opens what it would open alone, under the same
masks: joining messages changes neither their bytes nor what anybody sees, only in how many messages it comes.
A secret keeps the forms that gates made of it. In a lane those are the lane's own: what another lane has made of it by
then depends on turns, which the dealer does not take.

A gate is suspended in its middle, where it calls what makes a round. So the lanes are greenlets, stacks of one thread
that is told when to change them, and gates and programs stay ordinary functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from greenlet import greenlet

from secure.protocols.core.cost import MeterRow
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import LANE_BITS
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.roles import Dealer, MeetingRole

Result = TypeVar("Result")
_BESIDE = 1 << 15
"""The number of a lane that is beside the program; those that are beside each other are numbered from one."""


def together(role: MeetingRole | Dealer, layer: str, branches: Sequence[Callable[[], Result]]) -> tuple[Result, ...]:
    """The branches' results at one role; their costs go to a layer.

    Raises ProtocolError for branches within branches and where dealer and party disagree, and what a branch raises.
    """
    outer = role.place
    if outer.own is not None:
        raise ProtocolError("branches that share rounds cannot have such branches themselves")
    lanes = [_Lane(role, number, branch, outer.gate) for number, branch in enumerate(branches, 1)]
    measured = _deal(role, lanes) if isinstance(role, Dealer | PartyAhead) else _evaluate(role, lanes)
    outer.gate += max(lane.gates for lane in lanes)
    # Those that have a round to make always make it together, so it takes as many as the longest lane has.
    declared = [lane.declared_rounds for lane in lanes]
    role.meter.joined(layer, saved=sum(declared) - max(declared), measured=measured)
    return tuple(lane.result for lane in lanes)


@contextmanager
def meanwhile(role: MeetingRole | Dealer, layer: str, branch: Callable[[], object]) -> Iterator[None]:
    """A branch beside the program in the block: whenever that makes a round, the branch makes its next one along.

    What of the branch is left when the block has ended makes rounds of its own. Where branches share rounds inside the
    block, it waits. Its costs go to `layer`.

    Raises what the branch raises, as soon as it does; ProtocolError within branches, and where dealer and party
    disagree.
    """
    if role.place.own is not None:
        raise ProtocolError("branches that share rounds cannot have such branches themselves")
    # What the program draws depends on no branch beside it.
    lane = _Lane(role, _BESIDE, branch, role.place.gates_beside)
    lane.place.layer = layer
    if isinstance(role, Dealer | PartyAhead):
        _deal(role, [lane])
        before = role.meter.declared_rounds
        yield
        # The program makes as many rounds beside the lane, unless it has fewer.
        role.meter.joined(layer, saved=min(lane.declared_rounds, role.meter.declared_rounds - before), measured=0)
    else:
        beside = _Beside(role, lane)
        try:
            yield
            beside.finish()
        except BaseException:
            lane.give_up()
            raise
        finally:
            beside.leave()
        role.meter.joined(layer, saved=beside.joined, measured=beside.joined)
    role.place.gates_beside += lane.gates


class _Beside:
    """A party's program and a lane beside it."""

    def __init__(self, party: MeetingRole, lane: _Lane[object]) -> None:
        self.joined = 0
        self._party, self._lane, self._place = party, lane, party.place
        self._arriving = None if self._place.next_dealt is None else _Arriving(party, self._place.next_dealt, 1)
        if self._arriving is not None:
            # All that is dealt to the lane comes before what is dealt to the program.
            self._arriving.keep_all()
            lane.place.next_dealt = partial(self._arriving.take, 0)
        self._meet, self._place.meet = self._place.meet, self._make_round
        self._waiting = lane.go_on()

    def finish(self) -> None:
        """Run the lane to its end."""
        while self._waiting is not None:
            self._waiting = self._lane.go_on(*_exchange(self._party, [self._waiting]))
        if self._arriving is not None:
            self._arriving.end([self._lane])

    def leave(self) -> None:
        """The program makes its rounds alone again."""
        self._place.meet = self._meet

    def _make_round(self, payload: memoryview | None, due: int) -> memoryview:
        of_program = _Round(payload, due)
        if self._waiting is None:
            return _exchange(self._party, [of_program])[0]
        reply, of_lane = _exchange(self._party, [of_program, self._waiting])
        self.joined += 1
        self._waiting = self._lane.go_on(of_lane)
        return reply


@dataclass(frozen=True)
class _Round:
    """What a lane waits for. payload: None where nothing is exchanged, as the dealer is waited for."""

    payload: memoryview | None
    due: int


class _Lane(Generic[Result]):
    """One branch at one role: where it is in its program and, in the end, its result."""

    result: Result

    def __init__(self, role: MeetingRole | Dealer, number: int, branch: Callable[[], Result], after: int) -> None:
        """after: a gate number below which this lane's gates must not be."""
        self._role = role
        self._branch = branch
        self._first_gate = (number << LANE_BITS) + after
        self._row = MeterRow()
        self._stack = greenlet(self._run)
        # Nothing of a lane that has ended leads back to it: what its gates made goes with it.
        self.place = replace(role.place, gate=self._first_gate, meet=partial(_meet, self._stack), own={})
        self.declared_rounds = 0

    @property
    def gates(self) -> int:
        """How many gates it had so far."""
        return self.place.gate - self._first_gate

    def go_on(self, *reply: memoryview) -> _Round | None:
        """Run until the next round is to be made, or the end. reply: what the last one brought, but for the first."""
        role, meter = self._role, self._role.meter
        outer, declared, role.place = role.place, meter.declared_rounds, self.place
        caller = meter.turn_to(self._row)
        try:
            waits_for: _Round | None = self._stack.switch(*reply)
        finally:
            self._row = meter.turn_to(caller)
            self.declared_rounds += meter.declared_rounds - declared
            role.place = outer
        return waits_for

    def give_up(self) -> None:
        """Leave the branch where it is, for good: another one failed."""
        self._stack.throw()

    def _run(self) -> None:
        self.result = self._branch()


def _meet(stack: greenlet, payload: memoryview | None, due: int) -> memoryview:
    """Suspend the lane of that stack until the round is made. What came for it."""
    reply: memoryview = stack.parent.switch(_Round(payload, due))
    return reply


def _deal(role: Dealer | PartyAhead, lanes: Sequence[_Lane[Any]]) -> int:
    """The dealer's side, and a party's before there is an input. Rounds saved, as they see them: none."""
    if isinstance(role, Dealer):
        role.flush()
    for lane in lanes:
        lane.go_on()
        role.end_lane()
    return 0


def _evaluate(party: MeetingRole, lanes: Sequence[_Lane[Any]]) -> int:
    """A party's side. Rounds saved."""
    receive = party.place.next_dealt
    arriving = None if receive is None else _Arriving(party, receive, len(lanes))
    if arriving is not None:
        for number, lane in enumerate(lanes):
            lane.place.next_dealt = partial(arriving.take, number)
    try:
        saved = _take_turns(party, lanes)
    except BaseException:
        for lane in lanes:
            lane.give_up()
        raise
    if arriving is not None:
        arriving.end(lanes)
    return saved


def _take_turns(party: MeetingRole, lanes: Sequence[_Lane[Any]]) -> int:
    """Run all lanes to their ends. Rounds saved."""
    saved, waiting = 0, _those_that_wait({lane: lane.go_on() for lane in lanes})
    while waiting:
        saved += len(waiting) - 1
        replies = _exchange(party, list(waiting.values()))
        waiting = _those_that_wait({lane: lane.go_on(each) for lane, each in zip(waiting, replies, strict=True)})
    return saved


def _those_that_wait(found: dict[_Lane[Any], _Round | None]) -> dict[_Lane[Any], _Round]:
    return {lane: made for lane, made in found.items() if made is not None}


def _exchange(party: MeetingRole, rounds: Sequence[_Round]) -> list[memoryview]:
    """One message to the peer and one from it, and what is each lane's."""
    parts = [each.payload for each in rounds if each.payload is not None]
    if not parts:
        return [memoryview(b"")] * len(rounds)
    message = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
    reply = party.exchange(message, sum(each.due for each in rounds))
    replies = []
    for each in rounds:
        replies.append(reply[: each.due])
        reply = reply[each.due :]
    return replies


class _Arriving:
    """What the dealer sends, lane after lane, kept until the lane that it is for asks for it."""

    def __init__(self, party: MeetingRole, receive: Callable[[], memoryview], lanes: int) -> None:
        if party.place.left:
            raise ProtocolError(f"{party.dealer_name} dealt what nothing took before the lanes began")
        self._dealer_name = party.dealer_name
        self._receive = receive
        self._kept: list[deque[memoryview]] = [deque() for _ in range(lanes)]
        self._lane = 0

    def take(self, lane: int) -> memoryview:
        """The next message of a lane. Raises ProtocolError where it has no more."""
        while not self._kept[lane]:
            if self._lane > lane:
                raise ProtocolError(f"{self._dealer_name} dealt too little for a lane; it runs a different program")
            self._keep_next()
        return self._kept[lane].popleft()

    def keep_all(self) -> None:
        """Wait for everything that is dealt to all lanes."""
        while self._lane < len(self._kept):
            self._keep_next()

    def end(self, lanes: Sequence[_Lane[Any]]) -> None:
        """All lanes are over. Raises ProtocolError where more was dealt than they took."""
        self.keep_all()
        if any(self._kept) or any(lane.place.left for lane in lanes):
            raise ProtocolError(f"{self._dealer_name} dealt more than the lanes took; it runs a different program")

    def _keep_next(self) -> None:
        message = self._receive()
        if message:
            self._kept[self._lane].append(message)
        else:
            self._lane += 1
