"""From two answers to a score, an alarm and a guess at the answer that was exchanged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secure.protocols.core.errors import InputError
from secure.verifier.features import class_features, features
from secure.verifier.training import fit, fresh

_ALARM_HIDDEN = (16, 16)
_CLASS_HIDDEN = (16,)
_LEAST_DEVIATION = 1e-3
_BATCH = 256
_LEARNING_RATE = 1e-2
_WEIGHT_DECAY = 1e-3


class ScaledNetwork(nn.Module):
    """Hidden layers behind columns of unit variance. Shapes: [..., columns] -> [...]."""

    def __init__(self, columns: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("deviation", torch.ones(columns))
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(columns, width), nn.ReLU()]
            columns = width
        self.layers = nn.Sequential(*layers, nn.Linear(columns, 1))

    def fit_scale(self, rows: Tensor) -> None:
        """Take means and deviations from rows. Shapes: [..., columns]."""
        flat = rows.reshape(-1, rows.shape[-1])
        self.mean.copy_(flat.mean(0))
        self.deviation.copy_(flat.std(0).clamp_min(_LEAST_DEVIATION))

    def forward(self, rows: Tensor) -> Tensor:
        """One number for each row."""
        numbers: Tensor = self.layers((rows - self.mean) / self.deviation)
        return numbers[..., 0]


class Detector(nn.Module):
    """Two trained networks: a score that is high for exchanged answers, and a score for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        equal = torch.full((1, classes), 1 / classes)
        self.alarm = ScaledNetwork(features(equal, equal).shape[-1], _ALARM_HIDDEN)
        self.again = ScaledNetwork(class_features(equal, equal).shape[-1], _CLASS_HIDDEN)

    def score(self, served: Tensor, own: Tensor) -> Tensor:
        """Log-odds that an answer was exchanged, if it is as likely as not. Shapes: [N, C] twice -> [N]."""
        scores: Tensor = self.alarm(features(served, own))
        return scores

    def reclassified(self, served: Tensor, own: Tensor) -> Tensor:
        """The class that the service would have named, if its answer was exchanged. Shapes: [N, C] twice -> [N]."""
        scores: Tensor = self.again(class_features(served, own))
        return scores.argmax(-1)


def trained_detector(
    honest: Tensor, own: Tensor, attacked: Sequence[Tensor], steps: int, generator: torch.Generator
) -> Detector:
    """A detector that tells honest answers from attacked ones; both sides weigh the same.

    steps: batches of the training. Shapes: honest, own and each of attacked float32 [N, C], the answers of the service,
    of the verifier's network and of an attacker to the same inputs.
    """
    detector = fresh(lambda: Detector(honest.shape[-1]), generator)
    served = torch.cat([honest, *attacked])
    beside = own.repeat(len(attacked) + 1, 1)
    exchanged = torch.cat([torch.zeros(len(honest)), torch.ones(len(honest) * len(attacked))])
    weight = torch.where(exchanged > 0, 1 / len(attacked), 1.0)
    truth = honest.argmax(-1).repeat(len(attacked) + 1)
    rows, class_rows = features(served, beside), class_features(served, beside)
    detector.alarm.fit_scale(rows)
    detector.again.fit_scale(class_rows)

    def alarm_loss(chosen: Tensor) -> Tensor:
        said = detector.alarm(rows[chosen])
        return nn.functional.binary_cross_entropy_with_logits(said, exchanged[chosen], weight[chosen])

    def class_loss(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(detector.again(class_rows[chosen]), truth[chosen])

    for network, loss in ((detector.alarm, alarm_loss), (detector.again, class_loss)):
        fit(
            network,
            loss,
            len(served),
            generator,
            steps=steps,
            batch=_BATCH,
            learning_rate=_LEARNING_RATE,
            weight_decay=_WEIGHT_DECAY,
        )
    return detector.eval()


def conformal_threshold(scores: Tensor, false_alarms: float) -> float:
    """The score that a further honest answer exceeds with a probability of `false_alarms` at most.

    It is the k-th smallest of n held-out scores, k = ⌈(n + 1)(1 − false_alarms)⌉. The promise holds for answers that
    are exchangeable with those held out, whatever their distribution (split conformal prediction: Vovk, Gammerman,
    Shafer, 2005). It is about the mean over draws of the held-out answers: one verifier's own rate a lies round it, by
    √(a(1 − a)/n) or so.

    Shapes: scores [n]. Raises InputError when n < 1/false_alarms − 1, for then no score is large enough.
    """
    count = len(scores)
    place = math.ceil((count + 1) * (1 - false_alarms))
    if place > count:
        raise InputError(
            f"{false_alarms:g} false alarms take {math.ceil(1 / false_alarms) - 1} held-out answers, a quarter of the "
            f"inputs, and there are {count}: give more inputs, or a higher rate"
        )
    return float(scores.sort().values[place - 1])
