"""Runs that alternate, A B C A B C, and the record of them."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.peers.errors import PeerError
from bench.peers.system import Figures, Run, System

OURS = "ours"
_ONCE = ("bytes_sent_per_party", "dealer_bytes", "rounds", "messages")
"""Figures that are the same at each run, up to the splitting of messages; the last run's are kept."""


def interleave(
    systems: Sequence[System], due: np.ndarray[Any, Any], repeats: int, tell: Callable[[str], None]
) -> dict[str, Figures]:
    """Start and warm up every system, then let them take turns. A failed one keeps its place, with the reason.

    Only one system computes at a time; the others wait for their turn, with all that they hold. Shapes: due [B, T, D].
    """
    found: dict[str, Figures] = {}
    runs: dict[str, list[Run]] = {system.name: [] for system in systems}
    with contextlib.ExitStack() as stack:
        for system in systems:
            stack.callback(system.stop)
            found[system.name] = {"includes": system.includes, "excludes": system.excludes}
            tell(f"{system.name}: starting")
            with _recorded(found[system.name], system, tell):
                found[system.name] |= system.start()
                tell(f"{system.name}: warm-up, {system.run().figures['seconds']:.2f} s")
        for repeat in range(1, repeats + 1):
            for system in systems:
                if "error" in found[system.name]:
                    continue
                with _recorded(found[system.name], system, tell):
                    runs[system.name].append(system.run())
                    tell(f"{system.name}: run {repeat}, {runs[system.name][-1].figures['seconds']:.2f} s")
    for name, done in runs.items():
        if "error" not in found[name]:
            found[name] |= _summary(done, due)
    return found


@contextlib.contextmanager
def _recorded(record: Figures, system: System, tell: Callable[[str], None]) -> Any:
    """A failure becomes part of the record, and its processes end at once: they must not slow the others down."""
    try:
        yield
    except PeerError as error:
        record["error"] = str(error)
        tell(f"{system.name}: failed, {error}")
        system.stop()


def _summary(runs: Sequence[Run], due: np.ndarray[Any, Any]) -> Figures:
    seconds = [float(run.figures["seconds"]) for run in runs]
    last = runs[-1].figures
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "max_error": max(float(np.abs(run.output - due).max()) for run in runs),
        "peak_memory_bytes": last["peak_memory_bytes"],
    } | {name: last[name] for name in _ONCE if name in last}


def ratios(systems: dict[str, Figures]) -> dict[str, float]:
    """How many times faster ours is than each of the others, by medians of the same session."""
    ours = systems.get(OURS, {}).get("median_seconds")
    if ours is None:
        return {}
    return {
        name: figures["median_seconds"] / ours
        for name, figures in systems.items()
        if name != OURS and "median_seconds" in figures
    }
