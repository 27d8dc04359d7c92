"""The first gate of a making: keys are exchanged."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secure.protocols.core.cost import Cost
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.gates.gate import HybridGate, Made, unknown
from secure.protocols.hybrid.lattice.scheme import public_key_bytes
from secure.protocols.hybrid.oblivious.base import POINT_BYTES
from secure.protocols.hybrid.oblivious.extension import WIDTH
from secure.protocols.hybrid.roles import Maker, User


@dataclass(frozen=True, eq=False)
class KeyExchange(HybridGate):
    """P0's public key, fresh as its secret one is; 128 base transfers by which the garbler gets a key for each bit of
    Δ; and a seed of the garbler for what both expand.

    Cost: three rounds to make, or two where P0, who sends first, evaluates; nothing later.
    Reveals: nothing, under the assumptions of `secure.protocols.hybrid.oblivious.base`.
    """

    name = "keys"
    garbler: Garbler

    def cost(self) -> Cost:
        return Cost()

    def made(self) -> Made:
        key, points, replies = public_key_bytes(), POINT_BYTES, WIDTH * POINT_BYTES + SEED_BYTES
        if self.garbler == "client":
            return Made(Cost(rounds=3, p0_bytes=key + replies, p1_bytes=points))
        return Made(Cost(rounds=2, p0_bytes=key + points, p1_bytes=replies))

    def make(self, maker: Maker) -> Tensor:
        maker.open()
        return unknown(0)

    def use(self, user: User) -> Tensor:
        return unknown(0)
