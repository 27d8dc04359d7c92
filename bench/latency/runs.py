"""Sessions that were measured, and constants fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from secure.models.latency import NETWORKS, Constants, NetworkLink, predict
from secure.models.price import Price

_ITERATIONS = 40
_SMALL_ERROR = 1e-3


@dataclass(frozen=True)
class Measured:
    """One measurement: its price then, its network, and seconds from the client's tensors to its result."""

    name: str
    price: Price
    network: str
    seconds: float

    @property
    def protocol(self) -> str:
        return self.price.protocol


def link_of(run: Measured) -> NetworkLink:
    """Between two computing parties, which all have alike."""
    return NETWORKS[run.network].between("p0", "p1")


def seconds_of(runs: Sequence[Measured], constants: Constants) -> list[float]:
    """What these constants alone say, without the least that a network takes."""
    return [predict(run.price, NETWORKS[run.network], constants).summed for run in runs]


def solved(rows: Sequence[Sequence[float]], seconds: Sequence[float], known: Sequence[float]) -> list[float]:
    """Constants, none negative, with about the least sum of |rows @ constants + known - seconds| / seconds.

    By least squares again and again, each time with weights of one over the root of the last error.
    """
    due = np.asarray(seconds)
    equations, right = np.asarray(rows) / due[:, None], (due - np.asarray(known)) / due
    scale = np.abs(equations).max(0)
    scale[scale == 0] = 1.0  # of what no measurement has anything of
    weights = np.ones(len(due))
    for _ in range(_ITERATIONS):
        found, _ = nnls(equations / scale * weights[:, None], right * weights)
        errors = np.abs(equations / scale @ found - right)
        weights = 1 / np.sqrt(np.maximum(errors, _SMALL_ERROR))
    return [float(value) for value in found / scale]
