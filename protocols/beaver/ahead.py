"""A party of this family before there is an input: its program with masks alone, as `secure.protocols.masked.ahead`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.channel import Channel
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.ahead import Ahead, PartyAhead
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.weights import PublicWeight, Weight

Result = TypeVar("Result")


class BeaverAhead(BeaverProtocol):
    """Computing party 0 or 1 of a session to come: a secret is a shape and this party's share of its mask."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        session: bytes,
        dealer: Channel | None,
        policy: FixedPointPolicy,
        *,
        check: Callable[[], None] | None = None,
        device: torch.device = CPU,
    ) -> None:
        """dealer: at P1 what the dealer has sent for that session. check: called before each gate; may raise."""
        party = PartyAhead(index, seed, session, dealer, device)
        super().__init__(party, policy, None)
        self._party, self._session, self._check = party, session, check

    def run(self, gate: Gate[Result]) -> Result:
        """The gate's side before there is an input; nothing of it counts as a cost of the session."""
        if self._check is not None:
            self._check()
        self._party.begin_gate()
        return gate.run(self._party)

    def bind(self, prepared: Weight | PublicWeight) -> DealtSecret:
        """A prepared tensor without its numbers, which are added when there is an input."""
        bound = super().bind(prepared)
        share = None if bound.share is None else unknown(bound.share.shape)
        pair = None if bound.pair is None else replace(bound.pair, opened=unknown(bound.pair.opened.shape))
        return DealtSecret(self, bound.fraction_bits, share=share, share_bits=bound.share_bits, pair=pair)

    def finish(self) -> None:
        self._party.finish()

    @property
    def made(self) -> Ahead:
        """What it has computed, for `BeaverParty`."""
        return Ahead(self._party.index, self._session, self._party.products)
