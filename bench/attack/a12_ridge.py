"""A12, ridge regression: whoever knows what some vectors stand for learns the way back for all others.

In the encrypted basis a token's row is e' = eQ; n known pairs (e'_i, e_i) give W = (X'ᵀX' + λI)⁻¹X'ᵀX, and e'W is near
e for every other token, whatever matrix Q is, orthogonal or not. The template's pairs are always known; a message that
leaks, or that the attacker sent itself, gives further ones. What is matched is then refined by turns.

Needs: rows (of the embedding, or in split mode the client's vectors), pairs, and rows of the base, or of a public model
of the same tokenizer. Source: linear maps between embeddings from a seed dictionary, Mikolov et al. 2013.
"""

from __future__ import annotations

import torch

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, refine
from bench.attack.view import View

_RIDGE = 1e-3


def attack(view: View, pairs: dict[int, int]) -> Guess:
    """The vocabulary through the map. pairs: plain ids by symbol, the template's among them."""
    rows, known = view.rows(), view.known.embedding
    assert known is not None
    symbols, plain = torch.tensor(list(pairs)), torch.tensor(list(pairs.values()))
    seen, due = rows[symbols], known[plain]
    weight = _RIDGE * seen.square().sum(1).mean() * torch.eye(rows.shape[1], dtype=rows.dtype)
    back = torch.linalg.solve(seen.T @ seen + weight, seen.T @ due)
    guess = refine(known, rows, assign_near(rows @ back, known))
    guess[symbols] = plain
    return Guess(guess)
