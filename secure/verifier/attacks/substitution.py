"""Another model in the service's place: with rounded or missing weights, or a smaller one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secure.protocols.core.errors import InputError
from secure.verifier.attacks.target import Target
from secure.verifier.services import Service, asked


@dataclass(frozen=True)
class Substitution:
    """Another model answers every query, and knows nothing of a verifier."""

    name: str
    model: Service

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The other model's answers; nothing is drawn. Raises InputError for what are no probabilities."""
        _, answers = asked(self.model, target.inputs)
        if answers.shape != target.honest.shape:
            raise InputError(
                f"{self.name}: its answers have shape {list(answers.shape)}, not {list(target.honest.shape)}"
            )
        return answers


def quantised(module: nn.Module, bits: int) -> nn.Module:
    """A copy whose matrices are rounded to signed numbers of so many bits, one scale for each matrix."""
    most = 2 ** (bits - 1) - 1
    return _changed(module, lambda w: (w / (w.abs().amax() / most)).round() * (w.abs().amax() / most))


def pruned(module: nn.Module, share: float) -> nn.Module:
    """A copy in which this share of each matrix's numbers, the smallest ones, are 0."""
    return _changed(module, lambda w: torch.where(w.abs() < w.abs().flatten().quantile(share), 0.0, w))


def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in copied.parameters():
            if parameter.dim() > 1:
                parameter.copy_(change(parameter))
    return copied
