"""A14, anchors: a vector's cosines with a few known ones are the same in every rotated basis, and much alike elsewhere.

An orthogonal Q keeps cos(e'_i, e'_a) for anchors a, the template's tokens, whose symbols the first session gives. Two
models of one tokenizer that were trained apart differ by more than a rotation, but their relative representations may
agree well enough to tell some tokens. The surest matches, whose best candidate leads by most, become anchors in turn.

Needs: rows (split mode: the client's vectors), the template, rows of the base or of a public model of the same
tokenizer. Source: relative representations, Moschella et al. 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, standardised
from bench.attack.view import View

_TURNS = 6


def attack(view: View, pairs: dict[int, int]) -> Guess:
    """The vocabulary by relative representations. pairs: plain ids by symbol, the template's among them."""
    rows, known = view.rows(), view.known.embedding
    assert known is not None
    symbols, plain = torch.tensor(list(pairs)), torch.tensor(list(pairs.values()))
    guess = torch.empty(0)
    for turn in range(1, _TURNS + 1):
        observed, candidates = standardised(_relative(rows, symbols), _relative(known, plain))
        guess = assign_near(observed, candidates)
        lead = _lead(torch.cdist(observed, candidates), guess)
        lead[torch.tensor(list(pairs))] = torch.inf
        surest = lead.topk(max(len(pairs), len(rows) * turn // _TURNS)).indices
        guess[torch.tensor(list(pairs))] = torch.tensor(list(pairs.values()))
        symbols, plain = surest, guess[surest]
    return Guess(guess)


def _relative(rows: Tensor, anchors: Tensor) -> Tensor:
    """Cosines with the anchors, about the mean of all rows. Shapes: [n, d], [a] -> [n, a]."""
    centred = torch.nn.functional.normalize(rows - rows.mean(0))
    return centred @ centred[anchors].T


def _lead(distances: Tensor, guess: Tensor) -> Tensor:
    """By how much each guess is nearer than the nearest other candidate. Shapes: [n, m], [n] -> [n]."""
    chosen = distances.gather(1, guess[:, None])
    return distances.scatter(1, guess[:, None], torch.inf).min(1).values - chosen[:, 0]
