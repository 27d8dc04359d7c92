"""The two parts of an evaluator, in step: each runs until it has a round to make, and then both make it together.

A gate is suspended in its middle, as in `secure.protocols.masked.lanes`: each part is a greenlet, a stack of the one
thread that computes. What it does in its lane, if it is in one, it does at a place of its own, which follows from the
evaluator's: the same gates, under the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from greenlet import greenlet

from secure.protocols.core.cost import Meter, MeterRow
from secure.protocols.core.errors import ProtocolError
from secure.protocols.witnessed.roles import SENT_PART, Opened, PartOf, Said
from secure.protocols.witnessed.witness import Witness

Result = TypeVar("Result")


class _Step(Generic[Result]):
    """One part's way through a piece of program."""

    result: Result

    def __init__(self, part: PartOf, witness: Witness, meter: Meter, program: Callable[[], Result]) -> None:
        place = replace(witness.place, meet=None)
        if part.part != SENT_PART:
            place.left, place.next_dealt = memoryview(b""), None
        self.place = place
        self._part, self._program, self._meter = part, program, meter
        self._row = MeterRow()
        self._stack = greenlet(self._run)

    def go_on(self, *opened: Opened) -> Said | None:
        """Run until the next round is to be made, or the end. opened: what the last one brought, but for the first."""
        self._part.place = self.place
        before = self._meter.turn_to(self._row)
        try:
            says: Said | None = self._stack.switch(*opened)
        finally:
            self._row = self._meter.turn_to(before)
        return says

    def give_up(self) -> None:
        """Leave the program where it is, for good."""
        self._stack.throw()

    def _run(self) -> None:
        self.result = self._program()


def in_step(
    witness: Witness, parts: tuple[PartOf, PartOf], programs: Sequence[Callable[[], Result]]
) -> tuple[Result, Result]:
    """The results of a piece of program for both parts: the evaluator's own, and the following one.

    Raises what either raises; ProtocolError where they do not go the same way.
    """
    own, following = (
        _Step(part, witness, witness.meter, program) for part, program in zip(parts, programs, strict=True)
    )
    try:
        says, other = own.go_on(), following.go_on()
        while says is not None and other is not None:
            where = f"gate {own.place.gate}, {parts[0].gate_name}"
            opened = witness.open(says, other, where)
            says, other = own.go_on(opened), following.go_on(opened)
        if says is not other or own.place.gate != following.place.gate:
            raise ProtocolError("the two parts of an evaluator have gone different ways through the program")
    except BaseException:
        for step in (own, following):
            step.give_up()
        raise
    place = witness.place
    place.gate = own.place.gate
    for part, step in zip(parts, (own, following), strict=True):
        if part.part == SENT_PART:
            place.left = step.place.left
    return own.result, following.result
