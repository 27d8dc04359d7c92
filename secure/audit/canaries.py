"""Canaries: texts with the answers that the true model gives, and how far honest answers are from those."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure.audit.compare import KINDS, Answer, Kind, distance
from secure.json_files import read_json
from secure.protocols.core.errors import ConfigurationError, InputError

Asked = Callable[[Sequence[str]], list[Answer]]
"""Answers to texts, in their order: the model in the clear, or whoever is audited."""
FORMAT = 1
MARGIN = 10.0
"""An honest answer exceeds the largest of m measured differences with probability 1 / (m + 1), whatever their
distribution; ten times that largest one lies far outside of what rounding gives. `python -m bench audit` counts how
many of 10,000 honest answers do."""
LEAST_NOISE = 2.0**-23
"""Where honest answers were the same to the bit, as on one machine: float32's unit roundoff, which another machine,
or another number of threads, may show."""
LEAST_HONEST = 8
_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Canary:
    """A text and the true model's answer."""

    text: str
    answer: Answer


@dataclass(frozen=True)
class Canaries:
    """What an audit asks. noise: distances of honest answers from true ones, measured on other texts."""

    kind: Kind
    canaries: tuple[Canary, ...]
    noise: tuple[float, ...]

    @property
    def threshold(self) -> float:
        """A larger distance is no honest answer's."""
        return MARGIN * max(LEAST_NOISE, *self.noise)

    def save(self, path: Path | str) -> None:
        """Write a new file that its owner alone can read: who knows the canaries answers them right.

        Raises ConfigurationError for a file that is there.
        """
        value = {
            "format": FORMAT,
            "kind": self.kind,
            "noise": self.noise,
            "canaries": [
                {"text": each.text, "values": each.answer.values, "names": each.answer.names} for each in self.canaries
            ],
        }
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror}; name a new file") from None

    @classmethod
    def load(cls, path: Path | str) -> Canaries:
        """What `save` wrote. Raises ConfigurationError."""
        value = read_json(path, ConfigurationError, "has no canaries")
        try:
            if value["format"] != FORMAT or value["kind"] not in KINDS:
                raise ConfigurationError(f"{path}: is of another version; make the canaries again")
            return cls(value["kind"], tuple(map(_canary, value["canaries"])), tuple(map(float, value["noise"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{path}: has no canaries: {type(error).__name__} at {error}") from None


def prepare(kind: Kind, texts: Sequence[str], true: Asked, honest: Asked, *, noise_texts: int = 24) -> Canaries:
    """Canaries of a user's own texts.

    Args:
        texts: of the traffic to come. Those that stand twice count once.
        true: the owner's model in the clear.
        honest: the same model as it is served, by somebody who is honest for now.
        noise_texts: how many of the texts, drawn at random, are given to both to measure honest differences. They
            become no canaries.

    Raises InputError for too few texts, and for a service whose honest answers are none.
    """
    found = list(dict.fromkeys(texts))
    if not LEAST_HONEST <= noise_texts < len(found):
        raise InputError(
            f"{len(found)} different texts and {noise_texts} of them to measure honest answers: at least "
            f"{LEAST_HONEST} are needed for that, and one more as a canary"
        )
    _RANDOM.shuffle(found)
    measured, rest = found[:noise_texts], found[noise_texts:]
    noise = tuple(distance(kind, *pair) for pair in zip(true(measured), honest(measured), strict=True))
    if not max(noise) < float("inf"):
        raise InputError("an honest answer is no answer of this kind; is it the same model?")
    canaries = (Canary(text, answer) for text, answer in zip(rest, true(rest), strict=True))
    return Canaries(kind, tuple(canaries), noise)


def _canary(value: dict[str, Any]) -> Canary:
    return Canary(str(value["text"]), Answer(tuple(map(float, value["values"])), tuple(map(str, value["names"]))))
