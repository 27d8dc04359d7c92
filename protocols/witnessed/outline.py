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
from secure.protocols.witnessed.two_dealers import CONFIRMING, MessageCount
from secure.protocols.witnessed.witness import DIGEST_BYTES

Result = TypeVar("Result")


class WitnessedOutline(Side):
    """An execution that evaluates no gate, and declares the cost of each to its tally.

    What the third evaluator sends is declared as what one sends beside the two others. What is dealt goes to two.
    """

    def __init__(self, policy: FixedPointPolicy, tally: CostTally) -> None:
        super().__init__(self._of(tally), policy, None)
        self._tally = tally
        self._digests = ComparingCost(tally)

    def _of(self, tally: CostTally) -> Outline:
        return Outline(tally)

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


class TwoDealersOutline(WitnessedOutline):
    """An outline of a program with two dealers: what the second one sends is declared as dealt, in a row of its own.

    Digests of seeds are no part of it, as seeds are none.
    """

    def __init__(self, policy: FixedPointPolicy, tally: CostTally) -> None:
        self._messages = MessageCount()
        self._declared_messages = 0
        super().__init__(policy, tally)

    def _of(self, tally: CostTally) -> Outline:
        return _CountingOutline(tally, self._messages)

    def run(self, gate: Gate[Result]) -> Result:
        result = super().run(gate)
        self._messages.dealt(gate.cost().dealer_bytes)
        return result

    def end_step(self) -> None:
        super().end_step()
        self._declare()

    def finish(self) -> None:
        super().finish()
        self._declare()

    def _declare(self) -> None:
        """What was gathered goes out, and the digests since the last time are declared."""
        self._messages.flush()
        new, self._declared_messages = self._messages.count - self._declared_messages, self._messages.count
        if new:
            with self._tally.gate(*CONFIRMING, Cost(dealer_bytes=2 * DIGEST_BYTES * new)):
                pass


class _CountingOutline(Outline):
    """An outline that tells where gates begin, and where lanes end."""

    def __init__(self, meter: CostTally, messages: MessageCount) -> None:
        super().__init__(meter)
        self._messages = messages

    def begin_gate(self) -> None:
        super().begin_gate()
        self._messages.begin_gate(self.place.gate)

    def end_lane(self) -> None:
        self._messages.end_lane()


def _of_three(cost: Cost) -> Cost:
    return replace(cost, p0_bytes=cost.online_bytes, dealer_bytes=2 * cost.dealer_bytes)
