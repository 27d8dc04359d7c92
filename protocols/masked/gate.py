"""The form of every gate: an op together with its inputs.

A gate is one file with one class and, in this order, the mathematics in its docstring, `cost`, `deal` and `evaluate`.
Its inputs are fields, so its cost is a function of their shapes. `deal` runs at the dealer, where opened tensors have
a shape and no values; `evaluate` runs at a party. Both draw masks and correlations in the same order. `ahead` runs at a
party, too, before there is an input: it finds the masks that later gates multiply, and passes over what it need not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.masked.ahead import PartyAhead
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Gate(ABC, Generic[Result]):
    """One secure op, ready to run: a dataclass whose fields are its inputs."""

    name: ClassVar[str]

    @abstractmethod
    def cost(self) -> Cost:
        """Rounds and bytes, from the shapes of the inputs."""

    @abstractmethod
    def deal(self, dealer: Dealer) -> Result:
        """The dealer's side."""

    @abstractmethod
    def evaluate(self, party: Party) -> Result:
        """A computing party's side."""

    @abstractmethod
    def outline(self) -> Result:
        """What is known of the result before anything is computed: shapes and rings, and no mask."""

    def ahead(self, party: PartyAhead) -> Result:
        """A party's side before there is an input. Here it is nothing that a later gate could use."""
        party.pass_over(self.cost().dealer_bytes)
        return self.outline()

    def run(self, role: Party | Dealer) -> Result:
        """The side of that role."""
        if isinstance(role, Dealer):
            return self.deal(role)
        return self.ahead(role) if isinstance(role, PartyAhead) else self.evaluate(role)


GUARD_BITS = 3
"""What a coarser opening keeps below the unit of a truncation, at least: it adds a quarter of a unit at the most."""


def bits_to_drop(bits: int, shift: int) -> int:
    """How many low bits of a number in Z_2^bits need not be opened for a truncation by `shift`: whole bytes go."""
    kept = 8 * ring.element_bytes(bits - shift + GUARD_BITS)
    return max(0, bits - kept)


@dataclass(frozen=True, eq=False)
class OpeningGate(Gate[Pair]):
    """A gate that opens the number that it computes under a fresh mask t, for a truncation more coarsely than it is.

    dropped: so many low bits d of that number are not opened. Parties hold z_0 + z_1 = x + e in Z_2^k, of which the
    dealer knows e. Each drops bits of what it holds, and they open c = (z_0 >> d) + (z_1 >> d) + t in Z_2^(k-d). As
    floors of two summands are the floor of their sum or one less, the pair of c and of the mask
        t + (e >> d) - 1
    is one of (x >> d) in Z_2^(k-d), or of that and 1 or 2 more: never less, and nothing wraps, as the ring is smaller
    by what the number is. t is uniform in the smaller ring and used once, so that c is uniform and independent of x.
    Source: local truncation of shares as in SecureML 2017, without its error, as it is from a ring into a smaller one.
    """

    dropped: int = field(default=0, kw_only=True)

    def opened_pair(self, party: Party, share: Tensor, bits: int) -> Pair:
        """A party's side, with its share of x + e in Z_2^bits."""
        # The result's shape is the gate's, whatever that of the share: masks that do not fit are refused.
        mask, kept = party.mask(tuple(self.outline().opened.shape)), bits - self.dropped
        if self.dropped:
            share = ring.shift_right(share, self.dropped, bits)
        return Pair(party.open(share, mask, kept), None, kept, dealt=False)

    def pair_mask(self, dealer: Dealer, known: Tensor, bits: int) -> Tensor:
        """The mask of the pair, at the dealer, who knows e. Shapes: int64 any -> the same."""
        mask = dealer.mask(tuple(known.shape))
        return mask.add_(ring.shift_right(known, self.dropped, bits) - 1) if self.dropped else mask.add_(known)
