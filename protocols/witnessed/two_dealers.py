"""Two dealers of whom one may deviate: both deal the same from the same seeds, and the second one sends digests alone.

The first dealer draws the seeds. It gives each evaluator its two, as ever, and the second dealer all three. Before
anything else the second dealer gives each evaluator a digest of that evaluator's two seeds, then e_1 and e_2 one digest
for each message of the first dealer's. An evaluator takes nothing of a message before it has compared: see claim 7 in
the docstring of the package.

Messages end where gates end: so how many there are follows from what gates declare, and both dealers have the same.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from torch import Tensor

from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.cost import Meter, MeterRow
from secure.protocols.core.errors import PartyDeviates, ProtocolError
from secure.protocols.core.prg import LANE_BITS
from secure.protocols.witnessed.protocol import WitnessedDealer
from secure.protocols.witnessed.roles import ThreePartDealer
from secure.protocols.witnessed.witness import DIGEST_BYTES

GATHERED_BYTES = 1 << 18
"""A message ends with the gate in which it has come to so many bytes."""
_MOST_BYTES = 1 << 29
"""A message that would be longer ends within its gate. No channel takes more than twice as much at a time."""
_SEEDS = b"secure-inference seeds of an evaluator 1"
_DEALT = b"secure-inference dealt 1"
CONFIRMING = "digests", "second dealer"
"""The row of costs that the second dealer's digests are."""


def digest_of_seeds(evaluator: int, seeds: Sequence[bytes], deal: bytes) -> bytes:
    """What the second dealer tells an evaluator of its seeds. deal: the session, or the name of what is dealt."""
    return hashlib.sha256(_SEEDS + deal + bytes([evaluator]) + b"".join(seeds)).digest()


def check_seeds(evaluator: int, seeds: Sequence[bytes], deal: bytes, digest: Payload, dealers: Sequence[str]) -> None:
    """Raises PartyDeviates where the second dealer has other seeds than the first one gave. dealers: names of both."""
    if not hmac.compare_digest(bytes(digest), digest_of_seeds(evaluator, seeds, deal)):
        what = f"the seeds that {dealers[0]} gave are not those of which {dealers[1]} has sent a digest"
        raise PartyDeviates(tuple(dealers), "the seeds of the parts", what, f"p{evaluator}")


class Confirmed(Channel):
    """What the first dealer sends to an evaluator, each message as soon as the second one's digest has confirmed it."""

    def __init__(self, dealt: Channel, digests: Channel, deal: bytes, evaluator: int) -> None:
        """dealt: from the first dealer. digests: from the second one."""
        self.peer = dealt.peer
        self._dealt, self._digests = dealt, digests
        self._of_messages = MessageDigests(deal)
        self._evaluator = evaluator

    def send(self, payload: Payload) -> None:
        raise ProtocolError("nothing goes to a dealer")

    def receive(self) -> memoryview:
        """Raises PartyDeviates where the dealers do not say the same."""
        message, number = self._dealt.receive(), self._of_messages.count
        if not hmac.compare_digest(bytes(self._digests.receive()), self._of_messages.next_digest(message)):
            where = f"message {number} of what is dealt, {len(message)} bytes"
            what = f"it is not what {self._digests.peer} has sent a digest of"
            raise PartyDeviates((self._dealt.peer, self._digests.peer), where, what, f"p{self._evaluator}")
        return message


class MessageDigests:
    """Digests of messages, each with the deal that it belongs to and its place in it."""

    def __init__(self, deal: bytes) -> None:
        self.count = 0
        self._deal = deal

    def next_digest(self, message: Payload) -> bytes:
        found = hashlib.sha256(_DEALT + self._deal + self.count.to_bytes(8, "little"))
        found.update(message)
        self.count += 1
        return found.digest()


class WholeGates(ThreePartDealer):
    """The first dealer of two: of three parts, in messages that end where gates end."""

    def begin_gate(self) -> None:
        if self._buffered_bytes >= GATHERED_BYTES:
            self.flush()
        super().begin_gate()

    def _send(self, part: Tensor) -> None:
        size = part.numel()
        if size == 0:
            return
        if self._buffered_bytes + size > _MOST_BYTES:
            self.flush()
        self.meter.dealt(self.receivers * size)
        self._buffer.append(part)
        self._buffered_bytes += size


class Confirming(WholeGates):
    """The second dealer: it deals the same, and says digests of it."""

    receivers = 0

    def __init__(
        self, seeds: tuple[bytes, bytes, bytes], session: bytes, to_holders: tuple[Channel, Channel], meter: Meter
    ) -> None:
        super().__init__(seeds, session, to_holders, meter)
        self._to_p1 = _Digests(self._to_p1, session, len(to_holders), meter)


class _Digests(Channel):
    """A way on which a digest goes for each message."""

    def __init__(self, inner: Channel, deal: bytes, receivers: int, meter: Meter) -> None:
        self.peer = inner.peer
        self._inner, self._receivers, self._meter = inner, receivers, meter
        self._of_messages = MessageDigests(deal)

    def send(self, payload: Payload) -> None:
        row = self._meter.rows.setdefault(CONFIRMING, MeterRow())
        before = self._meter.turn_to(row)
        row.calls += 1
        self._inner.send(self._of_messages.next_digest(payload))
        self._meter.dealt(self._receivers * DIGEST_BYTES)
        self._meter.turn_to(before)

    def receive(self) -> memoryview:
        raise ProtocolError("nobody answers the dealer")


class FirstDealer(WitnessedDealer):
    """The first dealer's execution of one session."""

    kind = WholeGates


class SecondDealer(WitnessedDealer):
    """The second dealer's execution of one session. Its channels to p1 and p2 carry digests."""

    kind = Confirming


class MessageCount:
    """How many messages two dealers send of a program, by what its gates declare."""

    def __init__(self) -> None:
        self.count = 0
        self._gathered_bytes = 0
        self._lane = 0

    def begin_gate(self, gate: int) -> None:
        """A gate begins. gate: its number, whose upper bits are its lane's."""
        lane = gate >> LANE_BITS
        if self._gathered_bytes >= GATHERED_BYTES or lane != self._lane:
            self.flush()
        self._lane = lane

    def dealt(self, dealer_bytes: int) -> None:
        """The gate takes so many bytes to each holder."""
        self._gathered_bytes += dealer_bytes

    def end_lane(self) -> None:
        """A lane ends: an empty message says so."""
        self.flush()
        self.count += 1

    def flush(self) -> None:
        """What was gathered goes out."""
        self.count += bool(self._gathered_bytes)
        self._gathered_bytes = 0
