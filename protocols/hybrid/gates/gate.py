"""The form of every gate: an op with its inputs, which is made once without them and used once with them.

A gate is one class and, in this order, the mathematics in its docstring, what it costs, and both executions. Its
result is an additive share: while it is made P0's numbers and P1's shape, while it is used the other way round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from secure.protocols.core.cost import Cost
from secure.protocols.hybrid.roles import Maker, User


@dataclass(frozen=True)
class Made:
    """What making a gate costs. cost: rounds, and bytes by who sends them. p0_kept, p1_kept: bytes kept until use."""

    cost: Cost = field(default_factory=Cost)
    p0_kept: int = 0
    p1_kept: int = 0

    def __add__(self, other: Made) -> Made:
        return Made(self.cost + other.cost, self.p0_kept + other.p0_kept, self.p1_kept + other.p1_kept)

    def kept(self, index: int) -> int:
        """By party."""
        return self.p1_kept if index else self.p0_kept


@dataclass(frozen=True, eq=False)
class HybridGate(ABC):
    """One op, ready to run: a dataclass whose fields are its inputs."""

    name: ClassVar[str]

    @abstractmethod
    def cost(self) -> Cost:
        """Rounds and bytes when there is an input, from shapes."""

    @abstractmethod
    def made(self) -> Made:
        """The cost of making, from shapes."""

    @property
    def transfers(self) -> tuple[int, int]:
        """Correlated transfers that making draws: those in which P0 has Δ, and those in which P1 has it."""
        return 0, 0

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""

    @property
    def outcome(self) -> Tensor:
        """The result where nothing but its shape is known."""
        return unknown(*self.shape)

    @abstractmethod
    def make(self, maker: Maker) -> Tensor:
        """A party's side before there is an input."""

    @abstractmethod
    def use(self, user: User) -> Tensor:
        """A party's side when there is one."""


def unknown(*shape: int) -> Tensor:
    """A share of which this party has, or needs, nothing but the shape."""
    return torch.empty(shape, dtype=torch.int64, device="meta")
