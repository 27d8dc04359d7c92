"""A1, Gram and Procrustes on the gate: the residual rotation from a matrix that only a permutation protects besides.

The encrypted gate is W' = Qᵀ W P: Q rotates the residual stream, P permutes neurons, and SiLU allows no more. So
W'ᵀW' = Pᵀ(WᵀW)P: a neuron's row of this Gram matrix is the same multiset before and after. Matching multisets gives P
in every layer, Procrustes on all layers together gives Q, and E'·Qᵀ is the base's embedding with its rows permuted.
Rotation and neurons are refined by turns, which is what survives noise and fine-tuning.

Needs: encrypted layers, base weights. In split mode Q turns the client's vectors back instead of an embedding.
Source: orthogonal Procrustes, Schönemann 1966; on transformers with permuted or rotated weights, Thomas et al. 2025,
"Hidden No More".
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import assign_near, best, procrustes, quantiles
from bench.attack.view import View

_TURNS = 8


def attack(view: View) -> Guess:
    """The vocabulary through the rotation. Needs the embedding's rows or the client's vectors."""
    known = [layer.gate.T for layer in view.known.layers]
    observed = [layer.gate.T for layer in view.encrypted.layers]
    rotation = rotation_from(known, observed)
    assert view.known.embedding is not None
    rows, base_rows = view.rows(), view.known.embedding
    through_rotation = assign_near(rows, base_rows @ rotation)
    return Guess(best(base_rows, rows, [through_rotation]))


def rotation_from(known: list[Tensor], observed: list[Tensor]) -> Tensor:
    """Q with known·Q ≈ observed up to the order of rows within each matrix. Shapes: lists of [f, d] -> [d, d]."""
    orders = [assign_near(_profile(b), _profile(a)) for a, b in zip(known, observed, strict=True)]
    for _ in range(_TURNS):
        matched = torch.cat([a[order] for a, order in zip(known, orders, strict=True)])
        rotation = procrustes(matched, torch.cat(observed))
        better = [assign_near(b, a @ rotation) for a, b in zip(known, observed, strict=True)]
        if all(torch.equal(new, old) for new, old in zip(better, orders, strict=True)):
            break
        orders = better
    return rotation


def _profile(rows: Tensor) -> Tensor:
    """What neither Q nor P changes of a neuron: its inner products with all neurons, sorted, and its norm."""
    gram = rows @ rows.T
    return torch.cat((quantiles(gram), 8.0 * gram.diagonal().sqrt()[:, None]), dim=1)
