"""An evaluator that deviates: it changes what it sends, and never complains about what it hears."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import PartyDeviates, PartyLost
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.dealt import forms
from secure.protocols.masked.gates.opening import ShareMask
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.sharing.three_parts import splitter
from secure.protocols.witnessed.protocol import Side, WitnessedParty
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.four_roles import EVALUATORS, run_evaluators
from tests.in_process import RoleFailure, RoleProgram
from tests.protocols.gates import Build
from tests.three_parties import combine

Outcome = Literal["caught", "ended", "unchanged", "wrong"]
"""An honest evaluator or the client said so; a role was lost and there is no result; nobody noticed, and the result is
what it is without it; nobody noticed, and it is another one."""
Change = Callable[[bytes, bytes], bytes | None]
"""(a message, the one before it on that way) -> what is sent in its place, or None for nothing."""


def flipped(bit: int) -> Change:
    """One bit of the payload, or of the digest where there is no payload. Negative ones count from the end."""

    def change(message: bytes, before: bytes) -> bytes:
        raw = bytearray(message)
        start = DIGEST_BYTES if len(raw) > DIGEST_BYTES else 0
        place = 8 * start + bit % (8 * (len(raw) - start))
        raw[place // 8] ^= 1 << (place % 8)
        return bytes(raw)

    return change


def _random(message: bytes, before: bytes) -> bytes:
    if len(message) == DIGEST_BYTES:
        return os.urandom(DIGEST_BYTES)
    return message[:DIGEST_BYTES] + os.urandom(len(message) - DIGEST_BYTES)


def _shifted(message: bytes, before: bytes) -> bytes:
    """The low byte of the first element is another one: all its bits are in the ring, or in a plane."""
    raw = bytearray(message)
    start = DIGEST_BYTES if len(raw) > DIGEST_BYTES else 0
    raw[start] = (raw[start] + random.randrange(1, 256)) % 256
    return bytes(raw)


def _swapped(message: bytes, before: bytes) -> bytes:
    """The two halves of what follows the digest, or of a digest that nothing follows, change places."""
    kept = DIGEST_BYTES if len(message) > DIGEST_BYTES else 0
    half = kept + (len(message) - kept) // 2
    return message[:kept] + message[half:] + message[kept:half]


def _other_digest(message: bytes, before: bytes) -> bytes:
    return os.urandom(DIGEST_BYTES) + message[DIGEST_BYTES:]


CHANGES: dict[str, Change] = {
    "bit 0": flipped(0),
    "last bit": flipped(-1),
    "some bit": lambda message, before: flipped(random.Random(len(message)).randrange(1 << 30))(message, before),
    "shifted in the ring": _shifted,
    "halves swapped": _swapped,
    "random": _random,
    "replayed": lambda message, before: before,
    "truncated": lambda message, before: message[:-1],
    "extended": lambda message, before: message + b"\0",
    "another digest": _other_digest,
}


@dataclass
class Deviation:
    """What one evaluator does: at message `at` on the way to the next one, or to the previous one, it changes it."""

    who: int
    to_next: bool
    at: int
    change: Change
    heard: list[bytes] = field(default_factory=list)
    """Messages with which others answered after that, from either side."""

    def wrap(self, end: Channel) -> Channel:
        towards = EVALUATORS[(self.who + (1 if self.to_next else -1)) % 3]
        return _Deviating(end, self, changes=end.peer == towards)


class _Deviating(Channel):
    def __init__(self, inner: Channel, deviation: Deviation, *, changes: bool) -> None:
        self.peer = inner.peer
        self._inner, self._deviation, self._changes = inner, deviation, changes
        self._sent, self._before, self._digest = 0, b"", b""

    def send(self, payload: bytes | bytearray | memoryview) -> None:
        message: bytes | None = bytes(payload)
        assert message is not None
        self._digest, before, self._before = message[:DIGEST_BYTES], self._before, message
        if self._changes and self._sent == self._deviation.at:
            message = self._deviation.change(message, before)
        self._sent += 1
        if message is not None:
            self._inner.send(message)

    def receive(self) -> memoryview:
        message = bytes(self._inner.receive())
        if self._sent > self._deviation.at + 1:
            self._deviation.heard.append(message)
        return memoryview(self._digest + message[DIGEST_BYTES:])


@dataclass
class Setting:
    """Everything that a run draws, fixed: the same program gives the same messages."""

    program: RoleProgram
    inputs: Sequence[Tensor]
    parts: list[list[Tensor]] = field(init=False)
    seeds: list[bytes] = field(init=False)
    session: bytes = field(default_factory=lambda: os.urandom(16))
    common_seed: bytes = field(default_factory=lambda: os.urandom(16))
    _due: Tensor | None = None

    def __post_init__(self) -> None:
        split = splitter()
        held = [split(i, 0, x) for i, x in enumerate(self.inputs)]
        self.parts = [[torch.stack(of_input[i]) for of_input in held] for i in range(3)]
        self.seeds = [os.urandom(16) for _ in EVALUATORS]

    def run(self, deviation: Deviation | None = None, **given: object) -> tuple[list[Tensor], int]:
        """What the evaluators give the client, and how many rounds there were. Raises RoleFailure."""
        wrap = {} if deviation is None else {EVALUATORS[deviation.who]: deviation.wrap}
        arguments = {"parts": self.parts, "timeout_seconds": 120.0, "wrap": wrap, **given}
        results, meters, _ = run_evaluators(
            self.program,
            self.inputs,
            session=self.session,
            seeds=self.seeds,
            common_seed=self.common_seed,
            **arguments,  # type: ignore[arg-type]
        )
        return results, meters["p0"].total.rounds

    @property
    def due(self) -> Tensor:
        """The result where nobody deviates."""
        if self._due is None:
            self._due = combine(self.run()[0])
        return self._due

    def outcome(self, deviation: Deviation, **given: object) -> Outcome:
        """What comes of it, as honest roles and the client see it."""
        try:
            results, _ = self.run(deviation, **given)
        except RoleFailure as failure:
            errors = failure.errors
        except PartyDeviates as error:
            errors = {error.args[0][:2]: error}
        except PartyLost as error:  # the last message was held back
            errors = {"": error}
        else:
            try:
                found = combine(results)
            except AssertionError:
                return "caught"
            return "unchanged" if torch.equal(found, self.due) else "wrong"
        honest = [error for role, error in errors.items() if role not in (EVALUATORS[deviation.who], "dealer")]
        assert len(deviation.heard) <= 2, "the one that deviates heard more than one answer from each"
        return "caught" if any(isinstance(error, PartyDeviates) for error in honest) else "ended"

    def is_caught(self, deviation: Deviation) -> bool:
        """Whether an honest evaluator said so and the client got no result; or else the client compares and refuses.

        Where nobody notices, the result must be what it is without the deviation.
        """
        found = self.outcome(deviation)
        assert found in ("caught", "unchanged"), found
        return found == "caught"


def gate_program(build: Build, shapes: Sequence[tuple[int, ...]]) -> RoleProgram:
    """One gate, and what its result is as shares, for a client."""

    def of_side(side: Side, held: list[Tensor]) -> Tensor:
        result = side.run(build(side, held))  # type: ignore[arg-type]
        results = result if isinstance(result, tuple) else (result,)
        shares = [_share(side, each) for each in results if each is not None]
        return torch.cat([each.reshape(-1) for each in shares])

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        if isinstance(protocol, WitnessedParty):
            held = [share for share in shares if share is not None]
            own_and_following = protocol.for_both(lambda which, side: of_side(side, [share[which] for share in held]))
            return torch.stack(own_and_following)
        assert isinstance(protocol, Side)
        return of_side(protocol, [torch.empty(shape, dtype=torch.int64, device="meta") for shape in shapes])

    return program


def _share(side: Side, result: Tensor | Pair) -> Tensor:
    if isinstance(result, Tensor):
        return result
    return forms.unmasked(side, result if result.dealt else side.run(ShareMask(result)))
