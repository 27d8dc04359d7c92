"""The form of every gate: an op together with its inputs.

A gate is one file with one class and, in this order, the mathematics in its docstring, `cost`, `deal` and `evaluate`.
Its inputs are fields, so its cost is a function of their shapes. `deal` runs at the dealer, where opened tensors have
a shape and no values; `evaluate` runs at a party. Both draw masks and correlations in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from secure.protocols.core.cost import Cost
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

    def run(self, role: Party | Dealer) -> Result:
        """The side of that role."""
        return self.deal(role) if isinstance(role, Dealer) else self.evaluate(role)
