"""What an attack is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from secure.verifier.inputs import Inputs


@dataclass(frozen=True)
class Target:
    """Honest traffic of a service and the verifier beside it.

    Shapes: honest, own float32 [N, C], probabilities above 0 of the service and of the verifier's network.
    """

    inputs: Inputs
    honest: Tensor
    own: Tensor
    score: Callable[[Tensor, Tensor], Tensor]
    """The detector: answers and the network's own, [N, C] each, to scores [N]. It can be differentiated."""
    threshold: float
    """A score above it is an alarm."""


class Attack(Protocol):
    """Whoever answers in the service's place."""

    @property
    def name(self) -> str:
        """What it does, in a few words; the row of a table."""

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers that it gives instead of the honest ones. Shapes: [N, C], probabilities above 0."""


def another_class(answers: Tensor, generator: torch.Generator) -> Tensor:
    """A class for each row that is not its largest, all equally likely. Shapes: [N, C] -> int64 [N]."""
    count, classes = answers.shape
    return (answers.argmax(-1) + torch.randint(1, classes, (count,), generator=generator)) % classes


def without_largest(answers: Tensor, other: Tensor) -> Tensor:
    """The largest class of `other` that is not the largest of `answers`. Shapes: [N, C] twice -> int64 [N]."""
    return other.scatter(-1, answers.argmax(-1, keepdim=True), -torch.inf).argmax(-1)


def with_largest(logits: Tensor, labels: Tensor, margin: Tensor) -> Tensor:
    """Probabilities whose largest is at the labels, by a margin of logits. Shapes: [N, C], [N], [N] -> [N, C]."""
    rows = torch.arange(len(logits))
    others = logits.scatter(-1, labels[:, None], -torch.inf).amax(-1)
    raised = logits.clone()
    raised[rows, labels] = torch.maximum(logits[rows, labels], others + margin)
    return torch.softmax(raised, -1)
