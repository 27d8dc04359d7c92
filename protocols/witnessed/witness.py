"""An evaluator's meeting with the two others: one exchange a round, and digests that are compared before the next.

What is sent, and why in this order, is in the docstring of the package.
"""

from __future__ import annotations

import hashlib
import hmac

from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import PartyDeviates
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.one_hot import refuse
from secure.protocols.masked.roles import MeetingRole
from secure.protocols.witnessed.roles import Opened, Said

DIGEST_BYTES = hashlib.sha256().digest_size
ROUND_BYTES = 2 * DIGEST_BYTES
"""What each evaluator sends more in each round: a digest to either other one."""
_TRANSCRIPT = b"secure-inference transcript 2"


class Witness(MeetingRole):
    """Evaluator `index` of one session: its way to evaluators index + 1 and index - 1, and what all have opened."""

    def __init__(
        self,
        index: int,
        beginning: bytes,
        to_next: Channel,
        to_previous: Channel,
        dealer: Channel | None,
        meter: Meter,
    ) -> None:
        """beginning: what all evaluators have, and is of this session and its deal alone."""
        super().__init__(meter, CPU)
        self.index = index
        self.rounds = 0
        self._to_next, self._to_previous = to_next, to_previous
        self._transcript = hashlib.sha256(_TRANSCRIPT + beginning)
        self._opened: list[str] = []
        self._accepted = True
        self.place.next_dealt = None if dealer is None else dealer.receive

    def open(self, own: Said, following: Said, where: str) -> Opened:
        """One round of one gate: own goes to the next evaluator, the missing part comes from the previous one.

        where: the gate, for an error.
        """
        parts = [ring.pack(value, bits) for value, bits in own.values] + [part.reshape(-1) for part in own.planes]
        payload = transfer.payload_of(parts) if parts else memoryview(b"")
        reply = (self.place.meet or self.exchange)(payload, len(payload))
        start, values, planes = 0, [], []
        for (mine, bits), (other, _) in zip(own.values, following.values, strict=True):
            stop = start + mine.numel() * ring.element_bytes(bits)
            values.append(ring.unpack_added(reply[start:stop], mine + other, bits))
            start = stop
        for mine, other in zip(own.planes, following.planes, strict=True):
            stop = start + mine.numel()
            planes.append(mine ^ other ^ transfer.received(reply[start:stop], self.device).reshape(mine.shape))
            start = stop
        self._record([*values, *planes], where)
        return Opened(values, planes)

    def judge(self, accepted: bool) -> None:
        """Whether a client's input is what it must be, as the last round says. Acted on once that was compared."""
        self._accepted = self._accepted and accepted

    def exchange(self, payload: memoryview | None, due: int) -> memoryview:
        """One round. Raises PartyDeviates where somebody has opened something else before, or sends too much or little.

        Raises InputError where all agree that the client's input is not what it must be.
        """
        digest = self._transcript.digest()
        self._to_next.send(digest + (payload or b""))
        self._to_previous.send(digest)
        message, other = self._to_previous.receive(), self._to_next.receive()
        where = f"round {self.rounds}"
        if len(other) != DIGEST_BYTES:
            raise self._deviates((self._to_next.peer,), where, f"a digest has {len(other)} bytes")
        if len(message) != DIGEST_BYTES + due:
            what = f"{len(message)} bytes came where {DIGEST_BYTES + due} are due"
            raise self._deviates((self._to_previous.peer,), where, what)
        agree = [hmac.compare_digest(each, digest) for each in (message[:DIGEST_BYTES], other)]
        if not all(agree):
            suspects = self._to_previous.peer, self._to_next.peer
            where = f"round {self.rounds - 1} ({', '.join(self._opened) or 'the start'})"
            raise self._deviates(suspects, where, "what was opened until then is not the same everywhere")
        self.rounds += 1
        self._opened.clear()
        if not self._accepted:
            raise refuse()
        return message[DIGEST_BYTES:]

    def _record(self, opened: list[Tensor], where: str) -> None:
        for each in opened:
            self._transcript.update(each.reshape(-1).contiguous().numpy().data)
        self._opened.append(where)

    def _deviates(self, suspects: tuple[str, ...], where: str, what: str) -> PartyDeviates:
        return PartyDeviates(tuple(sorted(suspects)), where, what, f"p{self.index}")
