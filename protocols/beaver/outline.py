"""A program of this family on shapes alone: see `secure.protocols.masked.outline`."""

from __future__ import annotations

from typing import TypeVar

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.cost import CostTally
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import P, Primitive, Secret
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.outline import Outline, multiplications

Result = TypeVar("Result")


class BeaverOutline(BeaverProtocol):
    """An execution that evaluates no gate, and declares the cost of each to its tally."""

    def __init__(self, policy: FixedPointPolicy, tally: CostTally) -> None:
        super().__init__(Outline(tally), policy, None)
        self._tally = tally

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        result = super().apply(primitive, x, *args, **kwargs)
        self._tally.multiplications[self.layer_name] += multiplications(primitive, x, args, result)
        return result

    def run(self, gate: Gate[Result]) -> Result:
        self.role.begin_gate()
        with self.role.meter.gate(self.role.place.layer or self.layer_name, gate.name, gate.cost()):
            return gate.outline()
