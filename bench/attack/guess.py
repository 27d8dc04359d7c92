"""An attack's result and its score, beside what a constant guess would have scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attack.view import Truth

_RESAMPLES = 1000
_SEED = 5


@dataclass(frozen=True)
class Guess:
    """Either what each symbol stands for (int64 [symbols], −1: no idea), or a reading of some sessions, by number."""

    plain_of: Tensor | None = None
    readings: dict[int, list[int]] | None = None


@dataclass(frozen=True)
class Score:
    """Right and counted content tokens of each session; types: share of the vocabulary that was found."""

    right: list[int]
    counted: list[int]
    running: float
    types: float | None


def score(
    guess: Guess,
    truth: Truth,
    symbols: list[list[int]],
    template: list[int],
    judged: range,
    known: Collection[int] | None = None,
) -> Score:
    """Counts content tokens: those whose id is not `known`; None: the template's, which everybody knows.

    judged: the sessions that count, where the guess is about symbols; a reading counts for the sessions that it has.
    `running` is the share of all tokens behind the template.
    """
    known = set(template if known is None else known)
    right, counted, ran, total = [], [], 0, 0
    for number in judged if guess.readings is None else sorted(guess.readings):
        plain = truth.sessions[number]
        if guess.readings is not None:
            read = guess.readings[number]
        else:
            assert guess.plain_of is not None
            read = guess.plain_of[torch.tensor(symbols[number])].tolist()
        # A reading may be shorter than its session: what is not read is not judged.
        pairs = list(zip(plain, read, strict=False))[len(template) :]
        content = [(a, b) for a, b in pairs if a not in known]
        right.append(sum(a == b for a, b in content))
        counted.append(len(content))
        ran += sum(a == b for a, b in pairs)
        total += len(pairs)
    types = None if guess.plain_of is None else float((guess.plain_of == truth.plain_of).double().mean())
    return Score(right, counted, ran / max(total, 1), types)


def chance(truth: Truth, known: Collection[int], judged: range) -> float:
    """Share of content tokens, those whose id is not known, that the best constant guess reads."""
    known = set(known)
    counts = Counter(id for number in judged for id in truth.sessions[number] if id not in known)
    return max(counts.values(), default=0) / max(sum(counts.values()), 1)


def interval(right: list[int], counted: list[int]) -> tuple[float, float]:
    """95 % interval of the share, by the bootstrap over sessions: tokens of one session are no independent trials.

    Where every session (or none) is right, resampling says nothing; the rule of three bounds the share instead.
    """
    hits, sizes = torch.tensor(right, dtype=torch.float64), torch.tensor(counted, dtype=torch.float64)
    if not sizes.sum():
        return 0.0, 1.0
    chosen = torch.randint(0, len(hits), (_RESAMPLES, len(hits)), generator=torch.Generator().manual_seed(_SEED))
    shares = hits[chosen].sum(1) / sizes[chosen].sum(1).clamp(min=1.0)
    low, high = torch.quantile(shares, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    share, rule = float(hits.sum() / sizes.sum()), min(3.0 / len(hits), 1.0)
    return (1.0 - rule if share == 1.0 else low), (rule if share == 0.0 else high)
