"""What a detector looks at: how a service's probabilities and the verifier's own differ."""

from __future__ import annotations

import torch
from torch import Tensor

_TOPS = 3


def features(served: Tensor, own: Tensor) -> Tensor:
    """A row of figures for each pair of answers.

    They are the Kullback-Leibler divergences both ways, the Jensen-Shannon divergence, the largest and the summed
    difference, the verifier's probability and rank of the served class and the service's of the verifier's class,
    whether both name one class, the three largest log-probabilities and the entropy of either.

    Shapes: served, own float32 [N, C], probabilities above 0 -> float32 [N, 17]; 15 with two classes.
    """
    log_served, log_own = served.log(), own.log()
    log_middle = ((served + own) / 2).log()
    top, own_top = served.argmax(-1, keepdim=True), own.argmax(-1, keepdim=True)
    to_own = (served * (log_served - log_own)).sum(-1)
    to_served = (own * (log_own - log_served)).sum(-1)
    shannon = ((served * (log_served - log_middle)).sum(-1) + (own * (log_own - log_middle)).sum(-1)) / 2
    difference = (served - own).abs()
    own_of_top = log_own.gather(-1, top)
    rank = (log_own > own_of_top).sum(-1).float()
    tops = min(_TOPS, served.shape[-1])
    columns = [
        to_own,
        to_served,
        shannon,
        difference.amax(-1),
        difference.sum(-1),
        own_of_top[:, 0],
        log_served.gather(-1, own_top)[:, 0],
        rank,
        (top == own_top)[:, 0].float(),
        -(served * log_served).sum(-1),
        -(own * log_own).sum(-1),
    ]
    return torch.cat([torch.stack(columns, -1), log_served.topk(tops).values, log_own.topk(tops).values], -1)


def class_features(served: Tensor, own: Tensor) -> Tensor:
    """A row of figures for each class, for whoever guesses what the service would have answered.

    They are both log-probabilities, both ranks, and how far either is below its largest. Shapes: [N, C] twice ->
    float32 [N, C, 6].
    """
    parts = []
    for answer in (served.log(), own.log()):
        rank = answer.argsort(-1, descending=True).argsort(-1).float()
        parts += [answer, rank, answer - answer.amax(-1, keepdim=True)]
    return torch.stack(parts, -1)
