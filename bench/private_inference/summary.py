"""Many seeds of one system: means of what each run shows, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from bench.private_inference.arrivals import Arrivals
from bench.private_inference.simulate import Run, System, simulate

SEEDS = 30
WARM_UP = 0.1
"""The part of all requests, the first to arrive, that a run's figures leave out."""
FIGURES: dict[str, Callable[[Run], float]] = {
    "mean": lambda run: float(_counted(run.latencies).mean()),
    "p50": lambda run: float(np.quantile(_counted(run.latencies), 0.50)),
    "p95": lambda run: float(np.quantile(_counted(run.latencies), 0.95)),
    "p99": lambda run: float(np.quantile(_counted(run.latencies), 0.99)),
    "hits": lambda run: float(_counted(run.hits).mean()),
}
_STANDING = 400


def summary(system: System, arrivals: Arrivals, seeds: int = SEEDS) -> dict[str, dict[str, float]]:
    """Each figure of `FIGURES`: its mean over seeds, and half of its 95 % confidence interval.

    Seeds are 0, 1, …, so that two systems meet the same arrivals.
    """
    runs = [simulate(system, arrivals(np.random.default_rng(seed))) for seed in range(seeds)]
    return {name: _estimate([figure(run) for run in runs]) for name, figure in FIGURES.items()}


def figures(run: Run) -> dict[str, float]:
    """The figures of one run, its warm-up left out."""
    return {name: figure(run) for name, figure in FIGURES.items()}


def sustainable_rate(system: System) -> float:
    """Answers a second while somebody always waits, from an empty stock on, after half of the requests."""
    found = simulate(system, [0.0] * _STANDING, stocked=0)
    ends = np.sort(found.latencies)
    return (_STANDING - _STANDING // 2) / float(ends[-1] - ends[_STANDING // 2 - 1])


def with_slots(system: System, slots: int) -> System:
    """The same with another room for what is made ahead."""
    return replace(system, slots=slots)


def student(degrees: int) -> float:
    """The two-sided 95 % point of Student's distribution, to 1e-3 from 10 degrees on.

    By the expansion around the normal distribution's (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / (4 * degrees),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3),
    )
    return z + sum(terms)


def _estimate(values: list[float]) -> dict[str, float]:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return {"mean": mean, "half": math.nan}
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return {"mean": mean, "half": student(len(values) - 1) * spread / math.sqrt(len(values))}


def _counted(values: np.ndarray) -> np.ndarray:
    return values[int(WARM_UP * len(values)) :]
