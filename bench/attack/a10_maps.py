"""A10, attention maps: the probabilities of attention are the base's, head by head.

Scores q·k are what the QK factor keeps, so softmax over positions is unchanged; only heads are permuted. On the
template, whose tokens are known, heads are matched. Then each position is read as in A8: every candidate through the
base, the one kept whose row of attention agrees in all layers and heads.

Needs: attention maps of the running server, base weights; no ids, no hidden states. Source: in the design of this
suite; reading by forward passes as in Thomas et al. 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.decoding import Matcher, Trace, read_sessions
from bench.attack.guess import Guess
from bench.attack.matching import assign_near
from bench.attack.view import View

_FLOOR = 1e-6


def attack(view: View, numbers: list[int], length: int) -> Guess:
    """A reading of some sessions."""
    return read_sessions(view, _Maps(), numbers, length)


class _Maps(Matcher):
    def begin(self, observed: Trace, known: Trace) -> None:
        size = known.maps[0].shape[-1]
        self._orders = [
            assign_near(_logarithm(ours[0, :, :size, :size]).flatten(1), _logarithm(theirs[0]).flatten(1))
            for ours, theirs in zip(observed.maps, known.maps, strict=True)
        ]

    def distances(self, observed: Trace, candidates: Trace, before: Trace, known_before: Trace) -> Tensor:
        total = torch.zeros(len(candidates.maps[0]))
        for ours, theirs, order in zip(observed.maps, candidates.maps, self._orders, strict=True):
            length = theirs.shape[-1]
            rows = _logarithm(theirs[:, order, 0])
            gaps = (rows - _logarithm(ours[:, :, 0, :length])) / rows.std(0).clamp(min=1e-6)
            total += gaps.square().mean((1, 2))
        return total


def _logarithm(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=_FLOOR).log()
