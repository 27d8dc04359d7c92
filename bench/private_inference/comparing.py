"""A real run beside the simulator's on the same arrivals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOLERANCE = 0.15
"""By so much, of a real run's figures, may the simulator's differ; a row that differs by more is marked."""
COMPARED = ("mean", "p95")


def compared(real: Mapping[str, float], model: Mapping[str, float]) -> dict[str, Any]:
    """How far the simulator is from a real run, as parts of the latter, and whether that is within the tolerance."""
    off = {name: model[name] / real[name] - 1 for name in COMPARED}
    return {"off": off, "within": all(abs(each) <= TOLERANCE for each in off.values())}
