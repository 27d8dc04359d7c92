"""What a record of plans says of one plan, for its table and its picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]


def predicted(plans: Sequence[Record], name: str, protocol: str, network: str) -> float | None:
    """A plan's seconds, or None where the record has no such plan."""
    found = [plan["predicted"][protocol]["seconds"][network] for plan in plans if plan["name"] == name]
    return found[0] if found else None


def measured(plans: Sequence[Record], name: str, protocol: str, network: str) -> float | None:
    """A plan's median seconds, or None where they were not measured."""
    parts = [plan["measured"].get(protocol, {}).get(network) for plan in plans if plan["name"] == name]
    return None if not parts or parts[0] is None else float(parts[0]["median_seconds"])


def spread(plan: Record) -> tuple[float, float, float]:
    """Mean, least and greatest accuracy over seeds."""
    values = list(plan["accuracy"].values())
    return statistics.fmean(values), min(values), max(values)
