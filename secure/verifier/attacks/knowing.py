"""An attacker who knows the verifier, its detector and its threshold, and searches for every query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.verifier.attacks.classes import RunnerUp
from secure.verifier.attacks.target import Target, with_largest
from secure.verifier.services import floored


@dataclass(frozen=True)
class Knowing:
    """It computes the detector's score of so many wrong answers to each query and sends the one that alarms least.

    A third of them are real answers to other queries; a third are the verifier's own answer, a third the honest one,
    each sharpened or flattened at random, with another class raised to the top by a random margin.
    """

    tries: int = 200

    @property
    def name(self) -> str:
        """With the number of tries."""
        return f"knows verifier and threshold, {self.tries} tries"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers. The first try is that of `RunnerUp`."""
        honest, own = target.honest, target.own
        best = RunnerUp()(target, generator)
        least = target.score(best, own)
        for number in range(self.tries - 1):
            tried = self._try(target, number, generator)
            score = target.score(tried, own)
            better = (tried.argmax(-1) != honest.argmax(-1)) & (score < least)
            best, least = torch.where(better[:, None], tried, best), torch.where(better, score, least)
        return best

    def _try(self, target: Target, number: int, generator: torch.Generator) -> Tensor:
        count = len(target.honest)
        if number % 3 == 0:
            return target.honest[torch.randint(count, (count,), generator=generator)]
        basis = target.own if number % 3 == 1 else target.honest
        sharper = torch.exp2(2 * torch.rand((count, 1), generator=generator) - 1)
        margin = 0.02 + 3 * torch.rand(count, generator=generator).square()
        labels = _likely_class(target, sharper, generator)
        return floored(with_largest(basis.log() * sharper, labels, margin))


def _likely_class(target: Target, heat: Tensor, generator: torch.Generator) -> Tensor:
    """A class other than the honest one, more often one that the verifier finds likely. Shapes: -> int64 [N]."""
    weights = (target.own.log() / (2 * heat)).softmax(-1).scatter(-1, target.honest.argmax(-1, keepdim=True), 0)
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
