"""A program of this family on shapes alone: see `secure.protocols.masked.outline`."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from secure.protocols.core.cost import Cost, CostTally
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import P, Primitive, Secret
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.outline import Outline, multiplications
from secure.protocols.witnessed.gates import check_gate
from secure.protocols.witnessed.protocol import COMPARING, ComparingCost, Side

Result = TypeVar("Result")


class WitnessedOutline(Side):
    """An execution that evaluates no gate, and declares the cost of each to its tally.

    What the third evaluator sends is declared as what one sends beside the two others. What is dealt goes to two.
    """

    def __init__(self, policy: FixedPointPolicy, tally: CostTally) -> None:
        super().__init__(Outline(tally), policy, None)
        self._tally = tally
        self._digests = ComparingCost(tally)

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        result = super().apply(primitive, x, *args, **kwargs)
        # An evaluator computes two parts of the three.
        self._tally.multiplications[self.layer_name] += 2 * multiplications(primitive, x, args, result)
        return result

    def run(self, gate: Gate[Result]) -> Result:
        check_gate(gate)
        self.role.begin_gate()
        with self.role.meter.gate(self.role.place.layer or self.layer_name, gate.name, _of_three(gate.cost())):
            return gate.outline()

    def end_step(self) -> None:
        with self._tally.gate(*COMPARING, _of_three(self._digests.declare())):
            pass
        self._digests.declared()

    def finish(self) -> None:
        if self._digests.due:
            self.end_step()


def _of_three(cost: Cost) -> Cost:
    return replace(cost, p0_bytes=cost.online_bytes, dealer_bytes=2 * cost.dealer_bytes)
