"""One part of an evaluator before there is an input: its program with masks alone, as `secure.protocols.masked.ahead`.

An evaluator does this for each of its two parts, one after the other: nothing is opened, so they need not go in step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import P, Primitive, Secret
from secure.protocols.core.transfer import CPU
from secure.protocols.masked.ahead import Ahead, PartyAhead
from secure.protocols.masked.dealt.ahead import DealtAhead
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.weights import PublicWeight, Weight
from secure.protocols.witnessed.protocol import PROGRAMS
from secure.protocols.witnessed.roles import PARTS, SENT_PART
from secure.protocols.witnessed.secret import PreparedParts


class PartAhead(PartyAhead):
    """A part as its gates see it, before there is an input: as `PartOf`."""

    def __init__(self, part: int, seed: bytes, deal: bytes, dealer: Channel | None) -> None:
        """dealer: of the part that is sent what was dealt of it, from its beginning; others have none."""
        if (dealer is None) != (part != SENT_PART):
            raise ProtocolError("of what is dealt, one part is sent, and the others follow from seeds")
        super().__init__(int(dealer is not None), seed, deal, dealer, CPU)
        self.index = int(part != 0)


class WitnessedAhead(DealtAhead):
    """Part `which` of the two that evaluator `index` has, of a session to come."""

    def __init__(
        self,
        index: int,
        which: int,
        seed: bytes,
        deal: bytes,
        dealer: Channel | None,
        policy: FixedPointPolicy,
        *,
        check: Callable[[], None] | None = None,
    ) -> None:
        """seed: of that part. deal: under which it was dealt. dealer: as for `PartAhead`.

        check: called before each gate; may raise.
        """
        self._part, self._which, self._deal = (index + which) % PARTS, which, deal
        super().__init__(PROGRAMS, PartAhead(self._part, seed, deal, dealer), policy, check)

    def bind(self, prepared: PreparedParts | Weight | PublicWeight) -> DealtSecret:
        """A prepared tensor of this part, without its numbers."""
        return super().bind(prepared.parts[self._which] if isinstance(prepared, PreparedParts) else prepared)

    def apply(self, primitive: Primitive[P], x: Secret, *args: P.args, **kwargs: P.kwargs) -> Secret:
        given = [self._of_part(each) for each in (x, *args)]
        named = {name: self._of_part(each) for name, each in kwargs.items()}
        return super().apply(primitive, *given, **named)

    def _of_part(self, value: Any) -> Any:
        """An argument of a primitive as this part has it."""
        if isinstance(value, PreparedParts):
            return value.parts[self._which]
        if type(value) in (list, tuple):
            return [self._of_part(each) for each in value]
        return value

    @property
    def made(self) -> Ahead:
        """What it has computed, for `WitnessedParty`."""
        return Ahead(self._part, self._deal, self._party.products)
