"""A dealer that lies: one of two, who says something else than it is to say."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import PartyDeviates, PartyLost
from tests.four_roles import DEALERS
from tests.in_process import RoleFailure
from tests.protocols.witnessed.faults import Outcome, Setting
from tests.three_parties import combine

Message = bytes | bytearray | memoryview


@dataclass
class Lie:
    """What one dealer does at message `at` to these holders, by changing it."""

    change: Callable[[bytes, bytes], Sequence[bytes]]
    """(a message, the one before) -> what is sent in its place."""
    at: int = 0
    holders: Sequence[str] = ("p1", "p2")

    def wrap(self, end: Channel) -> Channel:
        return _Lying(end, self) if end.peer in self.holders else end


@dataclass
class _Lying(Channel):
    inner: Channel
    lie: Lie
    sent: int = 0
    before: bytes = b""

    def __post_init__(self) -> None:
        self.peer = self.inner.peer

    def send(self, payload: Message) -> None:
        message, before = bytes(payload), self.before
        said: Sequence[bytes] = [message]
        if self.sent == self.lie.at:
            said = self.lie.change(message, before)
        self.sent, self.before = self.sent + 1, message
        for each in said:
            self.inner.send(each)

    def receive(self) -> memoryview:
        raise AssertionError("a dealer tried to receive")


def flip(bit: int) -> Callable[[bytes, bytes], Sequence[bytes]]:
    def change(message: bytes, before: bytes) -> Sequence[bytes]:
        raw = bytearray(message)
        place = bit % (8 * len(raw))
        raw[place // 8] ^= 1 << (place % 8)
        return [bytes(raw)]

    return change


LIES: dict[str, Callable[[bytes, bytes], Sequence[bytes]]] = {
    "bit 0": flip(0),
    "last bit": flip(-1),
    "some bit": lambda message, before: flip(random.Random(len(message)).randrange(1 << 30))(message, before),
    "random": lambda message, before: [os.urandom(len(message))],
    "truncated": lambda message, before: [message[:-1]],
    "extended": lambda message, before: [message + b"\0"],
    "in two": lambda message, before: [message[:-8], message[-8:]],
    "nothing first": lambda message, before: [b"", message],
    "twice": lambda message, before: [message, message],
    "left out": lambda message, before: [],
}


def dealt(tried: Setting, lies: dict[str, Lie] | None = None, dealers: int = 2, seconds: float = 60.0) -> Tensor:
    """The result with these lies. Raises what evaluators raise, who wait so long for a message."""
    wrap = {name: lie.wrap for name, lie in (lies or {}).items()}
    return combine(tried.run(wrap=wrap, dealers=dealers, timeout_seconds=seconds)[0])


def outcome(tried: Setting, who: str, lie: Lie, seconds: float = 60.0) -> Outcome:
    """What comes of a dealer's lie: caught where an evaluator named both dealers."""
    try:
        found = dealt(tried, {who: lie}, seconds=seconds)
    except RoleFailure as failure:
        errors = list(failure.errors.values())
    except (PartyDeviates, PartyLost) as error:
        errors = [error]
    else:
        return "unchanged" if torch.equal(found, tried.due) else "wrong"
    assert all(isinstance(error, PartyDeviates | PartyLost) for error in errors), errors
    named = any(isinstance(error, PartyDeviates) and error.suspects == DEALERS for error in errors)
    return "caught" if named else "ended"
