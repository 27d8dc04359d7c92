"""What a party does in a gate: help, as a dealer of the `beaver` family would, or evaluate, as its P0 or P1.

Both come from there; what is new is that the helper's messages are not sent ahead of time, so waiting for one counts
as a round, and that the helper is a computing party and keeps the parts of what it dealt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.masked.roles import Dealer, Party

PARTIES = 3


class Evaluator(Party):
    """First (index 0) or second (index 1) of the two parties that evaluate a gate. Second hears from the helper."""

    dealer_name = "the helper"

    def correlation(self, shape: tuple[int, ...], bits: int, *, short: bool = False) -> Tensor:
        self._hear_helper()
        return super().correlation(shape, bits, short=short)

    def correlation_planes(self, shape: tuple[int, ...]) -> Tensor:
        self._hear_helper()
        return super().correlation_planes(shape)

    def _hear_helper(self) -> None:
        """Count a round where second has to wait for the helper.

        The helper sends all that a gate needs at once and waits for nothing. That is one round if it is needed before
        the gate's first exchange, and in the shadow of that exchange otherwise.
        """
        if not self.place.waited:
            self._round(None, 0)


class Helper(Dealer):
    """The party that deals in a gate, from the seeds that it shares with first and with second."""

    def mask_halves(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What first and second draw by `mask` at this point."""
        label = self._next_label()
        first, second = (prg.words(self._gate, label, shape, self.device) for prg in self._prgs)
        return first, second

    def share_halves(self, value: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """`share`, and the two shares: first's from the seed, second's is sent."""
        first = self._first_of(value, bits).to(torch.int64)
        second = value - first
        self._send(ring.pack(second, bits))
        return first, second


def roles_of(
    index: int,
    seeds: tuple[bytes, bytes],
    session: bytes,
    to_next: Channel,
    to_previous: Channel,
    meter: Meter,
    device: torch.device,
) -> tuple[Evaluator | Helper, ...]:
    """Party `index`'s role for each of the three helpers.

    seeds: those it shares with party index + 1 and with party index - 1. Each helper has its own streams of them.
    With itself as the helper it speaks to second, index - 1; the party after it is second where it is first.
    """
    with_next, with_previous = seeds
    found: dict[int, Evaluator | Helper] = {}
    helper, before, after = index, (index - 1) % PARTIES, (index + 1) % PARTIES
    found[helper] = Helper(seeds, _stream(session, helper), to_previous, meter, device)
    found[before] = Evaluator(0, with_previous, _stream(session, before), to_next, None, meter, device)
    found[after] = Evaluator(1, with_next, _stream(session, after), to_previous, to_next, meter, device)
    return tuple(found[k] for k in range(PARTIES))


def _stream(session: bytes, helper: int) -> bytes:
    return session + b" helper " + bytes([helper])
