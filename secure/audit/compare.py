"""Answers to texts, of three kinds, and how far two answers to one text are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["embedding", "classes", "next_token"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""A sentence's embedding; a classifier's logits; the likeliest next tokens after a text, with their log-probabilities.

The last one is how a language model is audited: texts that it makes drift apart by harmless noise, so the words before
are given (teacher forcing), and what is compared are probabilities.
"""
MOST_TOKENS = 20
"""So many likeliest tokens are stored. A server may tell fewer."""


@dataclass(frozen=True)
class Answer:
    """Numbers, in the order of the model's outputs. names: of tokens, which the numbers are log-probabilities of."""

    values: tuple[float, ...]
    names: tuple[str, ...] = ()


def distance(kind: Kind, stored: Answer, served: Answer) -> float:
    """How far a served answer is from the stored one; infinite where it is no answer of that kind.

    Vectors: ‖served − stored‖ / ‖stored‖, the Euclidean norm. A cosine would hide what this shows: a model in bfloat16
    has a cosine of 0.99999. Next tokens: the largest difference of a log-probability, in nats. A token that one side
    does not tell has there at most the least one that it does tell, so it counts as that.
    """
    if not served.values or not all(map(math.isfinite, served.values)):
        return math.inf
    if kind == "next_token":
        return _apart(stored, served)
    if len(served.values) != len(stored.values):
        return math.inf
    return math.dist(served.values, stored.values) / (math.hypot(*stored.values) or 1.0)


def _apart(stored: Answer, served: Answer) -> float:
    if len(served.names) != len(served.values):
        return math.inf
    mine, theirs = _by_name(stored), _by_name(served)
    # A server that tells fewer tokens says nothing of the rest, but that they are no likelier.
    shown = sorted(mine.items(), key=lambda item: -item[1])[: len(theirs)]
    least = min(theirs.values())
    missing = [max(0.0, value - least) for name, value in shown if name not in theirs]
    least_stored = min(mine.values())
    added = [max(0.0, value - least_stored) for name, value in theirs.items() if name not in mine]
    common = [abs(theirs[name] - value) for name, value in mine.items() if name in theirs]
    return max([*common, *missing, *added])


def _by_name(answer: Answer) -> dict[str, float]:
    """Log-probabilities by token; two tokens with one text count as the likelier."""
    return dict(sorted(zip(answer.names, answer.values, strict=True), key=lambda item: item[1]))


def named(tokenizer: Any, token: int) -> str:
    """What a token is called in an answer: its text, as servers tell it."""
    return str(tokenizer.decode([token]))


def vectors(rows: Any) -> list[Answer]:
    """Answers of the first two kinds from a tensor [texts, numbers], or lists."""
    lists: Sequence[Sequence[float]] = rows.tolist() if hasattr(rows, "tolist") else rows
    return [Answer(tuple(map(float, row))) for row in lists]
