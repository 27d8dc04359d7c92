"""The first gate of a making: keys are exchanged."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core.cost import Cost
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.gates.gate import HybridGate, Made
from secure.protocols.hybrid.lattice.scheme import public_key_bytes
from secure.protocols.hybrid.oblivious.base import POINT_BYTES
from secure.protocols.hybrid.oblivious.extension import WIDTH
from secure.protocols.hybrid.roles import Maker, User, kept_of_keys, senders_of


@dataclass(frozen=True, eq=False)
class KeyExchange(HybridGate):
    """P0's public key, fresh as its secret one is; 128 base transfers by which the garbler gets a key for each bit of
    Δ; and a seed of the garbler for what both expand. Where nobody garbles, each party has a Δ, and the seed is P0's.

    Cost: three rounds to make, or two where P1 garbles, as P0 sends first; nothing later. Each keeps that seed, and
    the garbler Δ.
    Reveals: nothing, under the assumptions of `secure.protocols.hybrid.oblivious.base`.
    """

    name = "keys"
    garbler: Garbler

    def cost(self) -> Cost:
        return Cost()

    def made(self) -> Made:
        key, replies, senders = public_key_bytes(), WIDTH * POINT_BYTES, senders_of(self.garbler)
        sent = [POINT_BYTES * (1 - index in senders) + replies * (index in senders) for index in (0, 1)]
        sent[senders[0]] += SEED_BYTES
        cost = Cost(rounds=3 if 0 in senders else 2, p0_bytes=key + sent[0], p1_bytes=sent[1])
        p0_kept, p1_kept = (kept_of_keys(garbles=self.garbler == party) for party in ("client", "server"))
        return Made(cost, p0_kept, p1_kept)

    @property
    def shape(self) -> tuple[int, ...]:
        return (0,)

    def make(self, maker: Maker) -> Tensor:
        maker.open()
        return self.outcome

    def use(self, user: User) -> Tensor:
        user.open()
        return self.outcome
