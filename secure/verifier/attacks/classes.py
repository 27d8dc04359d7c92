"""Answers changed without a search: another class, exchanged classes, probabilities moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.verifier.attacks.target import Target, another_class, with_largest, without_largest
from secure.verifier.services import floored


@dataclass(frozen=True)
class AnotherClass:
    """A random other class with a probability of 0.6 to 1; the rest is spread at random over the others."""

    name: str = "another class, peaked"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers."""
        count, _ = target.honest.shape
        labels = another_class(target.honest, generator)
        # Squares of normal numbers over their sum are drawn from the Dirichlet distribution with parameters 1/2.
        rest = torch.randn(target.honest.shape, generator=generator).square().scatter(-1, labels[:, None], 0)
        peak = 0.6 + 0.4 * torch.rand((count, 1), generator=generator)
        spread = rest / rest.sum(-1, keepdim=True) * (1 - peak)
        return floored(spread.scatter(-1, labels[:, None], peak))


@dataclass(frozen=True)
class RotatedValues:
    """The honest probabilities, each moved to the class so many places further: no value is new."""

    name: str = "another class, the same values"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers."""
        count, classes = target.honest.shape
        steps = torch.randint(1, classes, (count, 1), generator=generator)
        return target.honest.gather(-1, (torch.arange(classes) - steps) % classes)


@dataclass(frozen=True)
class RaisedLogit:
    """One other logit is raised until its class is the largest; the others keep their proportions."""

    name: str = "another class, one logit raised"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers."""
        margin = 0.5 + 4 * torch.rand(len(target.honest), generator=generator)
        return floored(with_largest(target.honest.log(), another_class(target.honest, generator), margin))


@dataclass(frozen=True)
class TopTwoSwapped:
    """The two largest probabilities are exchanged."""

    name: str = "top two classes swapped"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers; nothing is drawn."""
        values, places = target.honest.topk(2)
        return target.honest.scatter(-1, places, values.flip(-1))


@dataclass(frozen=True)
class RunnerUp:
    """The verifier's own probabilities, with the best class that is not the service's raised just above the others."""

    name: str = "the verifier's runner-up"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers; nothing is drawn. It knows the verifier's network."""
        labels = without_largest(target.honest, target.own)
        return floored(with_largest(target.own.log(), labels, torch.full((len(labels),), 0.02)))


@dataclass(frozen=True)
class SubtleShift:
    """So much probability moves from the largest class to the second, which becomes the largest only if it was near."""

    amount: float

    @property
    def name(self) -> str:
        """With the amount."""
        return f"{self.amount:g} moved from first to second"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers; nothing is drawn."""
        values, places = target.honest.topk(2)
        moved = values[:, 0].clamp_max(self.amount)
        change = torch.stack([-moved, moved], -1)
        return floored(target.honest.scatter_add(-1, places, change))
