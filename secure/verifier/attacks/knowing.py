"""An attacker who knows the verifier, its detector and its threshold, and searches for every query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.verifier.attacks.classes import RunnerUp
from secure.verifier.attacks.target import Target, with_largest
from secure.verifier.services import floored

_MARGIN = 0.02
_FIRST_STEP = 0.5
"""Logits: the largest change of one in the first step."""


@dataclass(frozen=True)
class Knowing:
    """It computes the detector's score of so many wrong answers to each query and sends the one that alarms least.

    Half of them are drawn: real answers to other queries, the verifier's own answer and the honest one, the latter two
    sharpened or flattened at random, with another class raised to the top by a random margin. The others go on from the
    best of these by the detector's gradient, in steps of logits that shrink to 0.
    """

    tries: int = 200

    @property
    def name(self) -> str:
        """With the number of tries."""
        return f"knows verifier and threshold, {self.tries} tries"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers. The first try is that of `RunnerUp`."""
        with torch.no_grad():
            best, least = RunnerUp()(target, generator), torch.full((len(target.honest),), torch.inf)
            drawn = (best, *(self._try(target, number, generator) for number in range(1, (self.tries + 1) // 2)))
            for tried in drawn:
                best, least = _better(target, best, least, tried)
        labels, logits = best.argmax(-1), best.log()
        climbs = self.tries // 2
        for number in range(climbs):
            logits.requires_grad_()
            tried = floored(with_largest(logits, labels, torch.full((len(labels),), _MARGIN)))
            (gradient,) = torch.autograd.grad(target.score(tried, target.own).sum(), logits)
            logits = logits.detach()
            best, least = _better(target, best, least, tried.detach())
            steepest = gradient.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
            logits = logits - _FIRST_STEP * (1 - number / climbs) * gradient / steepest
        return best

    def _try(self, target: Target, number: int, generator: torch.Generator) -> Tensor:
        count = len(target.honest)
        if number % 3 == 0:
            return target.honest[torch.randint(count, (count,), generator=generator)]
        basis = target.own if number % 3 == 1 else target.honest
        sharper = torch.exp2(2 * torch.rand((count, 1), generator=generator) - 1)
        margin = _MARGIN + 3 * torch.rand(count, generator=generator).square()
        labels = _likely_class(target, sharper, generator)
        return floored(with_largest(basis.log() * sharper, labels, margin))


def _better(target: Target, best: Tensor, least: Tensor, tried: Tensor) -> tuple[Tensor, Tensor]:
    """The answers of either that name a wrong class and score less, with their scores."""
    with torch.no_grad():
        score = target.score(tried, target.own)
    better = (tried.argmax(-1) != target.honest.argmax(-1)) & (score < least)
    return torch.where(better[:, None], tried, best), torch.where(better, score, least)


def _likely_class(target: Target, heat: Tensor, generator: torch.Generator) -> Tensor:
    """A class other than the honest one, more often one that the verifier finds likely. Shapes: -> int64 [N]."""
    weights = (target.own.log() / (2 * heat)).softmax(-1).scatter(-1, target.honest.argmax(-1, keepdim=True), 0)
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
