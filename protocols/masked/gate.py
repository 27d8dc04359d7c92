"""The form of every gate: an op together with its inputs.

A gate is one file with one class and, in this order, the mathematics in its docstring, `cost`, `deal` and `evaluate`.
Its inputs are fields, so its cost is a function of their shapes. `deal` runs at the dealer, where opened tensors have
a shape and no values; `evaluate` runs at a party. Both draw masks and correlations in the same order. `ahead` runs at a
party, too, before there is an input: it finds the masks that later gates multiply, and passes over what it need not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from secure.protocols.core.cost import Cost
from secure.protocols.masked.ahead import PartyAhead
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
