"""What p0, at the client, and p1, at the model's owner, compute with: while they make correlations, and when they use
them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from secure.parties.roles.engine import MadeAhead, SessionTools, Tools
from secure.parties.roles.hybrid.shelves import ReadShelf
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import CostTally, Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.hybrid.family import HYBRID
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.outline import HybridOutline
from secure.protocols.hybrid.protocol import HybridLoader, HybridMaker, HybridParty, HybridProtocol, fresh_stock
from secure.protocols.hybrid.stock import Stock


@dataclass
class MakingTools(Tools):
    """What a party walks through a program with before there is an input. found: its execution, afterwards."""

    family = HYBRID

    stock: Stock
    peer: Channel
    on_layer: Callable[[str], None]
    found: HybridMaker | None = None

    @property
    def index(self) -> None:
        return None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> HybridMaker:
        self.found = HybridMaker(self.stock, self.peer, policy, meter=meter, on_layer=self.on_layer)
        return self.found


@dataclass
class Readiness:
    """What a session has of correlations. stock: one that was made, or None where that is still to be done.

    user: the execution that uses it. seconds: that its making took, where that was in this session.
    """

    stock: Stock | None = None
    from_stock: bool = False
    user: HybridParty | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class TwoPartyTools(SessionTools):
    """What party `number` of two computes with in one session. making: told the layers for which something is made."""

    family = HYBRID

    number: int
    session: bytes
    garbler: Garbler
    peer: Channel
    on_layer: Callable[[str], None]
    making: Callable[[str], None]
    loading: bool
    ready: Readiness = field(default_factory=Readiness)

    @property
    def index(self) -> int:
        return self.number

    @property
    def makes(self) -> bool:
        return self.ready.stock is None

    def make_ready(self, walk: Callable[[Tools], object]) -> None:
        if self.makes:
            began, stock = time.monotonic(), fresh_stock(self.number, self.session, self.garbler)
            walk(MakingTools(stock, self.peer, self.making))
            self.ready.stock, self.ready.seconds = stock, time.monotonic() - began

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> HybridProtocol:
        if self.loading:
            return HybridLoader(self.number, policy, self.on_layer)
        assert self.ready.stock is not None
        self.ready.user = HybridParty(self.ready.stock, self.peer, policy, meter=meter, on_layer=self.on_layer)
        return self.ready.user

    def outline(self, policy: FixedPointPolicy, tally: CostTally) -> HybridOutline:
        return HybridOutline(policy, tally, self.garbler)

    @property
    def made_ahead(self) -> MadeAhead | None:
        """What the gates that were used declare of their making, which is what it took."""
        user, stock = self.ready.user, self.ready.stock
        if user is None or stock is None:
            return None
        made, shelf = user.made, stock.shelf
        return MadeAhead(
            from_stock=self.ready.from_stock,
            seconds=shelf.seconds if isinstance(shelf, ReadShelf) else self.ready.seconds,
            rounds=made.cost.rounds,
            sent_bytes=made.cost.p1_bytes if self.number else made.cost.p0_bytes,
            kept_bytes=made.kept(self.number) + SEED_BYTES,
        )
