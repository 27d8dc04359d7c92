"""A program of this family on shapes alone: see `secure.protocols.masked.outline`."""

from __future__ import annotations

import math

from torch import Tensor

from secure.protocols.core.cost import CostTally
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.gates.gate import HybridGate
from secure.protocols.hybrid.gates.keys import KeyExchange
from secure.protocols.hybrid.gates.product import Product
from secure.protocols.hybrid.protocol import HybridProtocol
from secure.protocols.hybrid.roles import HybridRole

MAKING = "making"
"""The layer to which all belongs that is made before there is an input."""


class HybridOutline(HybridProtocol):
    """An execution that makes and uses no gate, and declares the cost of both to its tally."""

    def __init__(self, policy: FixedPointPolicy, tally: CostTally, garbler: Garbler = "client") -> None:
        super().__init__(HybridRole(1, garbler), policy, None)
        self._tally = tally
        self._begun = False

    def carry_out(self, gate: HybridGate) -> Tensor:
        if not self._begun:
            self._begun = True
            self.carry_out(KeyExchange(self.garbler))
        made = gate.made()
        self.made += made
        self._tally.kept_bytes = max(self.made.p0_kept, self.made.p1_kept)
        with self._tally.gate(MAKING, gate.name, made.cost):
            pass
        with self._tally.gate(self.layer_name, gate.name, gate.cost()):
            if isinstance(gate, Product):
                self._tally.multiplications[self.layer_name] += math.prod(gate.shape) * gate.weight.shape[0]
            return gate.outcome
