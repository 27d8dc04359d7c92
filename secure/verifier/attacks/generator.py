"""A network that is trained against the detector, as the one in Fides is (arXiv 2304.00083)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secure.verifier.attacks.target import Target, with_largest, without_largest
from secure.verifier.services import floored
from secure.verifier.training import fit, fresh

_HIDDEN = 64
_BATCH = 256
_LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Generator:
    """It learns to write answers of a wrong class, the verifier's runner-up, that the detector scores low.

    It is trained on the very traffic that it then attacks, through the detector's own gradient.
    """

    steps: int = 300
    name: str = "a generator trained against the detector"

    def __call__(self, target: Target, generator: torch.Generator) -> Tensor:
        """The answers of the trained generator."""
        honest, own = target.honest, target.own
        labels = without_largest(honest, own)
        known = torch.cat([honest.log(), own.log(), nn.functional.one_hot(labels, own.shape[-1]).float()], -1)
        writer = fresh(lambda: AnswerWriter(known.shape[-1], own.shape[-1]), generator)

        def loss(rows: Tensor) -> Tensor:
            written = writer(known[rows], own[rows], labels[rows])
            return nn.functional.softplus(target.score(written, own[rows]) - target.threshold).mean()

        fit(writer, loss, len(known), generator, steps=self.steps, batch=_BATCH, learning_rate=_LEARNING_RATE)
        with torch.no_grad():
            written: Tensor = writer(known, own, labels)
        return written


class AnswerWriter(nn.Module):
    """What is known of a query, and a label, to probabilities whose largest is the label's."""

    def __init__(self, known: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(known, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, classes + 1))

    def forward(self, known: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """The verifier's own probabilities with learnt changes, and the label raised by a learnt margin.

        Shapes: [N, known], [N, C], int64 [N] -> [N, C].
        """
        change = self.layers(known)
        margin = 0.01 + nn.functional.softplus(change[:, -1] - 2)
        return floored(with_largest(own.log() + change[:, :-1], labels, margin))
