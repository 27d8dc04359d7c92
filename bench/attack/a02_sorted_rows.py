"""A2, sorted rows: a row keeps its multiset of values under permutations, and its multiset of inner products always.

With a permuted residual stream, sort(e'_i) = sort(e_τ(i)). With any orthogonal Q the Gram matrix E'E'ᵀ = Π·EEᵀ·Πᵀ is
permuted alone, so that sort over j of ⟨e'_i, e'_j⟩ identifies i; the same for the head, and for products of both.
The attacker tries each and keeps the guess that a rotation explains best.

Needs: the embedding's rows (split mode: the client's vectors, whose Gram matrix lacks the tokens not sent yet), base
weights. Source: Thomas et al. 2025 for sorted rows; Gram matrices are the standard invariant of the orthogonal group.
"""

from __future__ import annotations

import torch

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, best, quantiles
from bench.attack.view import View


def attack(view: View) -> Guess:
    """The vocabulary by nearest multisets."""
    base_rows, rows = view.known.embedding, view.rows()
    assert base_rows is not None
    guesses = [
        assign_near(rows.sort(1).values, base_rows.sort(1).values),
        assign_near(quantiles(rows @ rows.T), quantiles(base_rows @ base_rows.T)),
    ]
    if view.encrypted.embedding is not None and view.encrypted.head is not None and view.known.head is not None:
        observed = torch.cat([quantiles(view.encrypted.head.T @ view.encrypted.head), quantiles(rows @ rows.T)], 1)
        base = torch.cat([quantiles(view.known.head.T @ view.known.head), quantiles(base_rows @ base_rows.T)], 1)
        guesses.append(assign_near(observed, base))
        guesses.append(assign_near(quantiles(rows @ view.encrypted.head), quantiles(base_rows @ view.known.head)))
    return Guess(best(base_rows, rows, guesses))
