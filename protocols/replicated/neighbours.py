"""What a party of three says to both others, outside of gates in which one of them helps."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg
from secure.protocols.replicated.roles import PARTIES
from secure.protocols.replicated.seeds import PartySeeds

_STREAM = b" zeros"


class Neighbours:
    """Party `index`'s ways to the party after it and to the one before it, and a stream that it has with each."""

    def __init__(
        self, index: int, seeds: PartySeeds, session: bytes, to_next: Channel, to_previous: Channel, meter: Meter
    ) -> None:
        self.index = index
        self._channels = to_next, to_previous
        # Streams of their own, for sharings of zero alone.
        self._streams = [Prg(seed, session + _STREAM) for seed in (seeds.with_next, seeds.with_previous)]
        self._zeros = itertools.count()
        self._meter = meter

    def tell(self, payload: bytes, *, counts: bool) -> tuple[bytes, ...]:
        """Send the same to both others: one round. Returns what each party sent, in the order of the parties.

        counts: whether this party is one of the two that count rounds.

        Raises ProtocolError when another one's message has another size.
        """
        for channel in self._channels:
            channel.send(payload)
        found = {self.index: payload}
        for step, channel in zip((1, -1), self._channels, strict=True):
            message = bytes(channel.receive())
            if len(message) != len(payload):
                raise ProtocolError(
                    f"{channel.peer} sent {len(message)} bytes where {len(payload)} are due; the parties run different "
                    "programs or versions"
                )
            found[(self.index + step) % PARTIES] = message
        self._meter.exchanged(2 * len(payload), rounds=int(counts))
        return tuple(found[i] for i in range(PARTIES))

    def zero(self, count: int, device: torch.device) -> Tensor:
        """This party's part of a new sharing of zero, uniform to each of the others. Shapes: -> int64 [count]."""
        number = next(self._zeros)
        after, before = (stream.words(number, 0, (count,), device) for stream in self._streams)
        return after - before
