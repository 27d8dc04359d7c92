"""A8, hidden-state matching: activations keep norms, inner products and the gate's multiset.

In the encrypted model h' = hQ, so ‖h'_t‖ and ⟨h'_s, h'_t⟩ are the base's; the gate's products are g' = gP, the same
multiset. For each position every candidate token is run through the base behind what has been read so far, and the
candidate whose invariants agree best is kept. Nothing is learnt about the key; it works in every configuration that
keeps Q orthogonal and runs layers on the server.

Needs: activations of the running server, base weights. Source: Thomas et al. 2025 (vocabulary matching by forward
passes), here with invariants of the orthogonal group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.decoding import Matcher, Trace, read_sessions
from bench.attack.guess import Guess
from bench.attack.matching import quantiles
from bench.attack.view import View

_NEIGHBOURS = 16


def attack(view: View, numbers: list[int], length: int) -> Guess:
    """A reading of some sessions."""
    return read_sessions(view, _Invariants(), numbers, length)


class _Invariants(Matcher):
    def begin(self, observed: Trace, known: Trace) -> None:
        """Nothing to learn from the template."""

    def distances(self, observed: Trace, candidates: Trace, before: Trace, known_before: Trace) -> Tensor:
        total = torch.zeros(len(candidates.hidden[0]))
        for layer in range(len(observed.hidden)):
            total += _difference(quantiles(observed.gates[layer][:, 0]), quantiles(candidates.gates[layer][:, 0]))
            here = _products(observed.hidden[layer], before.hidden[layer])
            there = _products(candidates.hidden[layer], known_before.hidden[layer])
            total += _difference(here, there)
        return total


def _products(hidden: Tensor, before: Tensor) -> Tensor:
    """Norms, and inner products with the positions just before. Shapes: [N, 1, d], [1, T, d] -> [N, k]."""
    norms = hidden.norm(dim=-1)
    return torch.cat((norms, hidden[:, 0] @ before[0, -_NEIGHBOURS:].T), dim=1)


def _difference(observed: Tensor, candidates: Tensor) -> Tensor:
    """Mean squared difference in units of the spread among candidates. Shapes: [1, k], [V, k] -> [V]."""
    return ((candidates - observed) / candidates.std(0).clamp(min=1e-9)).square().mean(1)
