"""A program before there is an input, where a dealer knows the masks: see `secure.protocols.masked.ahead`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Table
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.dealt.protocol import DealtProtocol
from secure.protocols.masked.dealt.secret import DealtSecret
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.weights import PublicWeight, Weight

Result = TypeVar("Result")


class DealtAhead(DealtProtocol):
    """One party of a session to come: a secret is a shape and this party's share of its mask."""

    def __init__(
        self, programs: Table, party: PartyAhead, policy: FixedPointPolicy, check: Callable[[], None] | None
    ) -> None:
        """check: called before each gate; may raise."""
        super().__init__(programs, party, policy, None)
        self._party, self._check = party, check

    def run(self, gate: Gate[Result]) -> Result:
        """The gate's side before there is an input; nothing of it counts as a cost of the session."""
        if self._check is not None:
            self._check()
        self._party.begin_gate()
        return gate.run(self._party)

    def bind(self, prepared: Weight | PublicWeight) -> DealtSecret:
        """A prepared tensor without its numbers, which are added when there is an input."""
        bound = super().bind(prepared)
        share = None if bound.share is None else unknown(bound.share.shape)
        pair = None if bound.pair is None else replace(bound.pair, opened=unknown(bound.pair.opened.shape))
        return DealtSecret(self, bound.fraction_bits, share=share, share_bits=bound.share_bits, pair=pair)

    def finish(self) -> None:
        self._party.finish()
