"""When requests arrive: at a constant rate, in bursts, or as a file says. Times are seconds, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from secure.protocols.core.errors import ConfigurationError

Arrivals = Callable[[np.random.Generator], np.ndarray]
"""The times of one run's arrivals, for a seed."""


def poisson(rate: float, count: int) -> Arrivals:
    """So many arrivals, `rate` a second, each independent of all others."""

    def draw(random: np.random.Generator) -> np.ndarray:
        return np.cumsum(random.exponential(1 / rate, count))

    return draw


def bursts(rate: float, count: int, *, factor: float = 4.0, share: float = 0.1, length: float = 5.0) -> Arrivals:
    """A Poisson process whose rate is now low, now `factor` times the mean (a Markov-modulated one, of two states).

    rate: mean arrivals a second. share: of the time in bursts. length: mean arrivals in a burst. Raises
    ConfigurationError where bursts alone would be more than all arrivals.
    """
    if not (0 < share < 1 and 1 <= factor <= 1 / share):
        raise ConfigurationError(f"bursts of {factor:g} times the rate cannot take {share:g} of the time")
    high, low = factor * rate, rate * (1 - factor * share) / (1 - share)
    in_burst = length / high
    between = in_burst * (1 - share) / share

    def draw(random: np.random.Generator) -> np.ndarray:
        times: list[float] = []
        now, bursting = 0.0, bool(random.random() < share)
        while len(times) < count:
            stay = random.exponential(in_burst if bursting else between)
            arrived = np.sort(random.uniform(now, now + stay, random.poisson(stay * (high if bursting else low))))
            times.extend(arrived.tolist())
            now, bursting = now + stay, not bursting
        return np.array(times[:count])

    return draw


def trace(path: Path) -> Arrivals:
    """The times of a file, one a line; they are the same for every seed.

    Raises ConfigurationError for a file that cannot be read, or whose lines are not times in order.
    """
    try:
        times = np.array([float(line) for line in path.read_text(encoding="utf-8").split()])
    except (OSError, ValueError):
        raise ConfigurationError(f"{path} is no list of seconds, one a line") from None
    if len(times) == 0 or times[0] < 0 or not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
        raise ConfigurationError(f"{path}: the times of arrivals are not in order, from 0 on")
    return lambda random: times
