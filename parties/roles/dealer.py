"""The dealer in a session: it dials all parties, hands each its seeds, and streams corrections to all but p0.

For a prediction it begins when all have said, by a Join, that the client's input is coming; then it runs ahead of the
parties as far as its send budget allows. Nothing comes back but an Accept, a Join and an End.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from secure.parties.roles.engine import SessionTools
from secure.parties.roles.role import SEED_BYTES, Role
from secure.parties.session.session import Session
from secure.parties.stock.store import Deal
from secure.parties.transport.link import GrpcChannel, Link
from secure.protocols.beaver.family import BEAVER
from secure.protocols.beaver.protocol import BeaverDealer
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.fixedpoint import FixedPointPolicy


@dataclass(frozen=True)
class DealerTools(SessionTools):
    """What the dealer computes with in one session: the seeds of p0 and p1, and the way to p1."""

    family = BEAVER

    session: bytes
    seeds: tuple[bytes, bytes]
    to_p1: Channel
    on_layer: Callable[[str], None]

    @property
    def index(self) -> None:
        return None

    def protocol(self, policy: FixedPointPolicy, meter: Meter, device: torch.device) -> BeaverDealer:
        return BeaverDealer(
            self.seeds, self.session, self.to_p1, policy, meter=meter, on_layer=self.on_layer, device=device
        )


Seeds = Mapping[str, tuple[bytes, ...]]
"""By role, those that this role is to have, in order."""


class DealingRole(Role):
    """A dealer draws fresh seeds for every session; they exist in memory and inside TLS only."""

    @abstractmethod
    def draw(self) -> Seeds:
        """Fresh seeds of one deal."""

    @abstractmethod
    def begin(
        self, name: bytes, seeds: Seeds, ways: Mapping[str, Channel], on_layer: Callable[[str], None]
    ) -> SessionTools:
        """Begin to deal, under a session's id or another name that no other deal has. ways: to each party."""

    def join(self, session: Session, deal: Deal | None = None) -> SessionTools:
        seeds = self.draw()
        links = self._dial_all(session, seeds)
        ways = {role: GrpcChannel(link) for role, link in links.items()}
        return self.begin(bytes.fromhex(session.id), seeds, ways, session.on_layer)

    def _dial_all(self, session: Session, seeds: Seeds) -> dict[str, Link]:
        """The streams to all parties, opened at the same time, with their seeds behind the Hellos.

        Raises what the first party to object reports.
        """
        first, *holders = self.settings.family.computing
        others = dict.fromkeys((first, *self.settings.family.dealers[1:]))
        budgets = {**others, **dict.fromkeys(holders, self.settings.limits.dealer_send_bytes)}
        with ExitStack() as all_at_once:
            dialled = {}
            for role, budget in budgets.items():
                dial = partial(self.dial, session, role, "Deal", budget, seeds[role])
                dialled[role] = all_at_once.enter_context(self.meanwhile(session, dial))
            done, _ = wait(dialled.values(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return {role: future.result() for role, future in dialled.items()}


class TwoPartDealingRole(DealingRole):
    """The dealer of the beaver protocol: a seed to p0, another one and all corrections to p1."""

    def draw(self) -> Seeds:
        return {role: (os.urandom(SEED_BYTES),) for role in BEAVER.computing}

    def begin(
        self, name: bytes, seeds: Seeds, ways: Mapping[str, Channel], on_layer: Callable[[str], None]
    ) -> SessionTools:
        (of_p0,), (of_p1,) = seeds["p0"], seeds["p1"]
        return DealerTools(session=name, seeds=(of_p0, of_p1), to_p1=ways["p1"], on_layer=on_layer)
