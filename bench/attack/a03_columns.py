"""A3, column first: order the columns, then the rows are plain to see.

A column of E' = Π·E·Q keeps its multiset of values under Π, so sorted columns match columns when Q is a permutation.
When Q is any rotation, the left singular vectors take the columns' place: E' = (Π·U)·S·(VᵀQ), where singular values
order them and the third moment gives each its sign. Rows of U' then match rows of U. The head has another such basis.

Needs: the embedding (not there in split mode), base weights. Source: column-first matching after Thomas et al. 2025;
by singular vectors it is the spectral matching of Umeyama 1988.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, best
from bench.attack.view import View


def attack(view: View) -> Guess:
    """The vocabulary by rows in a basis that both sides can compute."""
    known, observed = view.known, view.encrypted
    assert known.embedding is not None and observed.embedding is not None
    assert known.head is not None and observed.head is not None
    columns = assign_near(observed.embedding.T.sort(1).values, known.embedding.T.sort(1).values)
    guesses = [assign_near(observed.embedding, known.embedding[:, columns])]
    guesses.append(assign_near(_canonical(observed.embedding), _canonical(known.embedding)))
    guesses.append(assign_near(_canonical(observed.head.T), _canonical(known.head.T)))
    return Guess(best(known.embedding, observed.embedding, guesses))


def _canonical(rows: Tensor) -> Tensor:
    """U·S with signs by the third moment: the same for E and for ΠEQ, up to the order of rows. Shapes: [V, d]."""
    left, singular, _ = torch.linalg.svd(rows, full_matrices=False)
    return left * singular * (left**3).sum(0).sign()
