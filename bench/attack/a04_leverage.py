"""A4, leverage scores and bilinear forms: numbers of one row that no change of basis alters.

Leverage eᵀ(EᵀE)⁻¹e is the same for E and EQ, for any invertible Q. With orthogonal Q there are many more: for a matrix
W that reads the residual stream, W' = QᵀWP, the form eᵀ(WWᵀ)e = ‖eW‖² keeps its value, P orthogonal. Gate and output
projections of all layers, head and embedding each give one number for each token; together they are a fingerprint.

Needs: base weights, and the embedding (split mode: the client's vectors, and the forms of the layers alone).
Source: leverage scores as invariants of the column space, Drineas et al. 2012; their use against rotated embeddings is
in the design of this suite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, best, standardised
from bench.attack.view import View
from bench.attack.weights import Weights


def attack(view: View) -> Guess:
    """The vocabulary by nearest fingerprints."""
    whole = view.encrypted.embedding is not None
    assert view.known.embedding is not None
    observed = _fingerprints(view.rows(), view.encrypted, whole)
    known = _fingerprints(view.known.embedding, view.known, whole)
    return Guess(best(view.known.embedding, view.rows(), [assign_near(*standardised(observed, known))]))


def _fingerprints(rows: Tensor, weights: Weights, whole: bool) -> Tensor:
    """Logarithms of the invariants of each row. Shapes: [n, d] -> [n, k]."""
    forms = [layer.gate @ layer.gate.T for layer in weights.layers]
    found = [rows.square().sum(1)]
    if whole:
        assert weights.embedding is not None and weights.head is not None
        forms += [torch.linalg.inv(weights.embedding.T @ weights.embedding), weights.head @ weights.head.T]
        by_token = weights.head.T
        found.append(by_token.square().sum(1))
        found.append(((by_token @ torch.linalg.inv(weights.head @ weights.head.T)) * by_token).sum(1))
        found += [((by_token @ form) * by_token).sum(1) for form in forms[:-1]]
    found += [((rows @ form) * rows).sum(1) for form in forms]
    return torch.stack(found, dim=1).clamp(min=1e-12).log()
