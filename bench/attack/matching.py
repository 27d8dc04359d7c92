"""What several attacks share: assignment, Procrustes, refinement by turns, and a solver for substitution ciphers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Levels at which the values of a set are compared when two sets differ in size.
_LEVELS = 64
# Inverse temperatures of the annealed solver, from nearly ignoring the bigrams to the likelihood itself.
_ANNEALING = (-2.5, 0.0, 30)
# Weights of the unigrams in the first soft assignment; each is a start of its own.
_STARTS = (0.03, 0.1, 0.3, 1.0)
_SINKHORN_STEPS = 10
_EXACT_STEPS = 8
_SMOOTHING = 10.0


def assign(scores: Tensor) -> Tensor:
    """For each row the column that it gets in the one-to-one assignment of highest total score.

    Shapes: [n, m] with n ≤ m -> int64 [n].
    """
    rows, columns = linear_sum_assignment(scores.double().numpy(), maximize=True)
    guess = torch.empty(len(scores), dtype=torch.int64)
    guess[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return guess


def assign_near(observed: Tensor, known: Tensor) -> Tensor:
    """Assignment of observed to known rows by Euclidean distance. Shapes: [n, k], [m, k] -> int64 [n]."""
    return assign(-torch.cdist(observed.double(), known.double()))


def standardised(observed: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Both, each column in units of the known one's deviation: features of any scale can be compared together."""
    centre, spread = known.mean(0), known.std(0).clamp(min=1e-12)
    return (observed - centre) / spread, (known - centre) / spread


def quantiles(rows: Tensor) -> Tensor:
    """The sorted values of each row at evenly spaced levels: equal multisets have equal quantiles. Shapes: [n, k]."""
    ordered = rows.sort(dim=1).values
    places = torch.linspace(0, ordered.shape[1] - 1, min(_LEVELS, ordered.shape[1])).round().long()
    return ordered[:, places]


def procrustes(known: Tensor, observed: Tensor) -> Tensor:
    """The orthogonal R that brings known·R closest to observed (Schönemann 1966). Shapes: [n, d] twice -> [d, d]."""
    left, _, right = torch.linalg.svd(known.T @ observed)
    return left @ right


def misfit(known: Tensor, observed: Tensor, guess: Tensor) -> float:
    """What the best rotation leaves of a guess, relative: how an attacker tells a right guess from a wrong one."""
    chosen = known[guess]
    return float((chosen @ procrustes(chosen, observed) - observed).norm() / observed.norm())


def refine(known: Tensor, observed: Tensor, guess: Tensor, turns: int = 12) -> Tensor:
    """Rotation from the guess, guess from the rotation, by turns (iterative closest points) until nothing changes."""
    for _ in range(turns):
        better = assign_near(observed, known @ procrustes(known[guess], observed))
        if torch.equal(better, guess):
            break
        guess = better
    return guess


def best(known: Tensor, observed: Tensor, guesses: list[Tensor]) -> Tensor:
    """Refines each guess and takes the one that fits best: no truth is needed to choose."""
    refined = [refine(known, observed, guess) for guess in guesses]
    return min(refined, key=lambda guess: misfit(known, observed, guess))


def bigrams(sessions: list[list[int]], size: int) -> Tensor:
    """How often b follows a. Shapes: float64 [size, size]."""
    counts = torch.zeros(size * size, dtype=torch.float64)
    for session in sessions:
        ids = torch.tensor(session)
        counts.index_add_(0, ids[:-1] * size + ids[1:], torch.ones(len(ids) - 1, dtype=torch.float64))
    return counts.reshape(size, size)


def smoothed(counts: Tensor) -> Tensor:
    """Joint probabilities of pairs, each conditional drawn towards the unigrams. Shapes: [V, V]."""
    unigrams = (counts.sum(0) + 0.5) / (counts.sum() + 0.5 * len(counts))
    conditional = (counts + _SMOOTHING * unigrams) / (counts.sum(1, keepdim=True) + _SMOOTHING)
    return unigrams[:, None] * conditional


def decipher(counts: Tensor, language: Tensor, seeds: dict[int, int] | None = None) -> Tensor:
    """Plain id of each symbol of a substitution cipher, from pairs of neighbours.

    Maximises Σ_ab counts[a, b]·log language[π(a), π(b)] over injective π: a quadratic assignment. The gradient at a
    soft assignment S is C·S·log Lᵀ + Cᵀ·S·log L; S is its Sinkhorn-balanced softmax while the temperature falls
    (Gold and Rangarajan 1996), then the exact assignment by turns. Begins with unigrams; `seeds` stay as given.

    Shapes: [n, n], [V, V] with n ≤ V -> int64 [n].
    """
    counts, logarithm = counts.float(), language.log().float()
    held = torch.zeros(len(counts), len(language))
    for symbol, plain in (seeds or {}).items():
        held[symbol, plain] = 1.0
    fixed = held.sum(1) > 0

    def gradient(soft: Tensor) -> Tensor:
        return _held(counts @ soft @ logarithm.T + counts.T @ soft @ logarithm, held, fixed)

    unigrams = _unigram_score(counts, language)
    found = [_anneal(_balanced(_held(weight * unigrams, held, fixed)), gradient) for weight in _STARTS]
    return max(found, key=lambda guess: float((counts * logarithm[guess[:, None], guess]).sum()))


def _anneal(soft: Tensor, gradient: Callable[[Tensor], Tensor]) -> Tensor:
    for beta in torch.logspace(*_ANNEALING).tolist():
        soft = _balanced(beta * gradient(soft))
    guess = soft.argmax(1)
    for _ in range(_EXACT_STEPS):
        better = assign(gradient(soft))
        soft = torch.nn.functional.one_hot(better, soft.shape[1]).float()
        if torch.equal(better, guess):
            break
        guess = better
    return guess


def _unigram_score(counts: Tensor, language: Tensor) -> Tensor:
    """Log-likelihood of each symbol's count if it were each plain id: Poisson."""
    seen = (counts.sum(0) + counts.sum(1)) / 2
    expected = (language.sum(0) * counts.sum()).float()
    return seen[:, None] * expected.log() - expected - torch.lgamma(seen + 1)[:, None]


def _held(scores: Tensor, held: Tensor, fixed: Tensor) -> Tensor:
    """Scores in which a seed's symbol and plain id can have only each other."""
    if not fixed.any():
        return scores
    scores = scores.clone()
    scores[:, held.sum(0) > 0] = -1e9
    scores[fixed] = -1e9
    return scores.masked_fill(held > 0, 0.0)


def _balanced(logits: Tensor) -> Tensor:
    """Rows that sum to one; columns that do too, together with one row for all symbols that were not seen.

    Source: Sinkhorn 1964.
    """
    symbols, size = logits.shape
    unseen = torch.full((size,), 0.0)
    mass = math.log(max(size - symbols, 1e-9))
    for _ in range(_SINKHORN_STEPS):
        logits = logits - logits.logsumexp(1, keepdim=True)
        unseen = unseen - unseen.logsumexp(0) + mass
        total = torch.logaddexp(logits.logsumexp(0), unseen)
        logits, unseen = logits - total, unseen - total
    return (logits - logits.logsumexp(1, keepdim=True)).exp()
