"""What came of runs, in figures: rates and percentiles with their spread over runs, errors by code, and costs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from bench.load.sending import Sent
from secure.protocols.core.errors import ConfigurationError

_LEAST = 2
"""Answers that percentiles can be of."""


@dataclass(frozen=True)
class Prices:
    """In one currency. gigabyte: of 10^9 bytes that leave an organisation. core_hour: of one core."""

    gigabyte: float
    core_hour: float


@dataclass(frozen=True)
class Taken:
    """What one run took. cpu_seconds: by process, the whole of it. link_bytes: by link, payload in sessions.

    sessions, rows: of the gateway with the parties, and in them. memory_bytes: by process, the most until then.
    """

    cpu_seconds: Mapping[str, float]
    link_bytes: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    sessions: float
    rows: float


def figures(runs: Sequence[tuple[Sent, float, Taken]], prices: Prices) -> dict[str, Any]:
    """Runs of one kind. Each is what was sent, the seconds that its rate is of, and what it took.

    Raises ConfigurationError where too few were answered.
    """
    every = sorted(latency for sent, _, _ in runs for latency in sent.answered)
    errors = Counter(code(failure) for sent, _, _ in runs for failure in sent.failures.values())
    if len(every) < _LEAST:
        raise ConfigurationError(
            f"fewer than {_LEAST} answers came in time, and of errors {dict(errors)}; give more --seconds"
        )
    rates = [len(sent.answered) / seconds for sent, seconds, _ in runs]
    taken = [each for _, _, each in runs]
    answers = len(every)
    cpu = {name: total / answers for name, total in _summed([each.cpu_seconds for each in taken]).items()}
    links = {name: total / answers for name, total in _summed([each.link_bytes for each in taken]).items()}
    sessions = sum(each.sessions for each in taken)
    return {
        "answers": answers,
        "rate": spread(rates),
        "seconds": {
            name: {"all": percentile(every, share), **spread([percentile(sent.answered, share) for sent, _, _ in runs])}
            for name, share in (("p50", 50), ("p95", 95), ("p99", 99))
        },
        "errors": dict(sorted(errors.items())),
        "rows_a_session": round(sum(each.rows for each in taken) / sessions, 2) if sessions else None,
        "cpu_seconds_an_answer": {name: round(value, 4) for name, value in cpu.items()},
        "memory_bytes": dict(taken[-1].memory_bytes),
        "link_bytes_an_answer": {name: round(value) for name, value in links.items()},
        "cost_per_1000": {
            "bytes": round(sum(links.values()) / 1e9 * prices.gigabyte * 1000, 4),
            "cpu": round(sum(cpu.values()) / 3600 * prices.core_hour * 1000, 4),
        },
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most of runs; runs without an answer left out."""
    known = [value for value in values if not math.isnan(value)]
    return {
        "median": round(statistics.median(known), 4),
        "least": round(min(known), 4),
        "most": round(max(known), 4),
    }


def percentile(values: Sequence[float], share: int) -> float:
    """Not a number for fewer than two values."""
    if len(values) < _LEAST:
        return math.nan
    return round(statistics.quantiles(values, n=100, method="inclusive")[share - 1], 4)


def code(failure: BaseException) -> str:
    """What an error counts as: the gateway's code, the status, or the error's kind."""
    if isinstance(failure, httpx.HTTPStatusError):
        try:
            return str(failure.response.json()["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return f"status {failure.response.status_code}"
    return type(failure).__name__


def _summed(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in values for name in each)
    return {name: sum(each.get(name, 0.0) for each in values) for name in names}
