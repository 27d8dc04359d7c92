"""A party of this family before there is an input: its program with masks alone, as `secure.protocols.masked.ahead`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from secure.protocols.beaver.programs import PROGRAMS
from secure.protocols.core.channel import Channel
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.ahead import Ahead, PartyAhead
from secure.protocols.masked.dealt.ahead import DealtAhead


class BeaverAhead(DealtAhead):
    """Computing party 0 or 1 of a session to come."""

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
        super().__init__(PROGRAMS, PartyAhead(index, seed, session, dealer, device), policy, check)
        self._session = session

    @property
    def made(self) -> Ahead:
        """What it has computed, for `BeaverParty`."""
        return Ahead(self._party.index, self._session, self._party.products)
