"""Runs that alternate, ours and a peer, A B A B, and the record of them."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.peers.errors import PeerError
from bench.peers.system import Figures, Run, System

OURS = "ours"
_WARM_UP = "warm-up"
_ONCE = ("bytes_sent_per_party", "dealer_bytes", "all_bytes", "rounds", "messages")
"""Figures that are the same at each run, up to the splitting of messages; the last run's are kept."""


def interleave(
    systems: Sequence[System], due: np.ndarray[Any, Any], repeats: int, tell: Callable[[str], None]
) -> dict[str, Figures]:
    """Let ours and one peer take turns, then ours and the next. A failed system keeps its place, with the reason.

    Ours stays ready from first to last, a peer only for its own turns: all at once would not fit a machine's memory.
    Each has a warm-up first. Only one computes at a time. Shapes: due [B, T, D].
    """
    session = _Session(systems, tell)
    ours = [system for system in systems if system.name == OURS]
    with contextlib.ExitStack() as stack:
        for system in ours:
            stack.callback(system.stop)
            session.warm_up(system)
        for peer in (system for system in systems if system.name != OURS):
            with contextlib.ExitStack() as turns:
                turns.callback(peer.stop)
                session.warm_up(peer)
                if session.alive(peer):
                    before = len(session.runs.get(OURS, []))
                    session.alternate([*ours, peer], repeats)
                    session.found[peer.name]["ours_seconds"] = [
                        run.figures["seconds"] for run in session.runs.get(OURS, [])[before:]
                    ]
        if ours and not session.runs[OURS]:
            session.alternate(ours, repeats)
    for name, done in session.runs.items():
        if "error" not in session.found[name]:
            session.found[name] |= _summary(done, due)
    return session.found


class _Session:
    """What was found so far. A failure becomes part of it, and the system's processes end at once."""

    def __init__(self, systems: Sequence[System], tell: Callable[[str], None]) -> None:
        self.found: dict[str, Figures] = {s.name: {"includes": s.includes, "excludes": s.excludes} for s in systems}
        self.runs: dict[str, list[Run]] = {system.name: [] for system in systems}
        self._tell = tell

    def alive(self, system: System) -> bool:
        return "error" not in self.found[system.name]

    def warm_up(self, system: System) -> None:
        self._tell(f"{system.name}: starting")
        with self._recorded(system):
            self.found[system.name] |= system.start()
            self._tell(f"{system.name}: warm-up, {system.run().figures['seconds']:.2f} s")

    def alternate(self, systems: Sequence[System], repeats: int) -> None:
        for repeat in range(1, repeats + 1):
            for system in filter(self.alive, systems):
                with self._recorded(system):
                    run = system.run()
                    self.runs[system.name].append(run)
                    self._tell(f"{system.name}: run {repeat}, {run.figures['seconds']:.2f} s")

    @contextlib.contextmanager
    def _recorded(self, system: System) -> Iterator[None]:
        try:
            yield
        except PeerError as error:
            self.found[system.name]["error"] = str(error)
            self._tell(f"{system.name}: failed, {error}")
            system.stop()


def _summary(runs: Sequence[Run], due: np.ndarray[Any, Any]) -> Figures:
    seconds = [float(run.figures["seconds"]) for run in runs]
    last = runs[-1].figures
    cpu = [float(run.figures["party_cpu_seconds"]) for run in runs if "party_cpu_seconds" in run.figures]
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "max_error": max(float(np.abs(run.output - due).max()) for run in runs),
        "peak_memory_bytes": last["peak_memory_bytes"],
        **({"party_cpu_seconds": statistics.median(cpu)} if cpu else {}),
    } | {name: last[name] for name in _ONCE if name in last}


def ratios(systems: dict[str, Figures]) -> dict[str, float]:
    """How many times faster ours is than each peer: by medians, ours of the turns that it took with that peer."""
    return {
        name: figures["median_seconds"] / statistics.median(figures["ours_seconds"])
        for name, figures in systems.items()
        if "median_seconds" in figures and figures.get("ours_seconds")
    }


def beside_ours(systems: dict[str, Figures]) -> Iterator[str]:
    """What another protocol of ours takes, as a multiple of what the first one takes: a line for each."""
    first, faster = systems.get(OURS, {}), ratios(systems)
    for name, figures in systems.items():
        if name in faster and {"party_cpu_seconds", "all_bytes"} <= figures.keys() & first.keys():
            cpu, sent = (figures[each] / first[each] for each in ("party_cpu_seconds", "all_bytes"))
            yield (
                f"{name} beside {OURS}: {faster[name]:.2f} times the seconds, {cpu:.2f} times the processor time "
                f"of the party that takes most ({figures['party_cpu_seconds']:.2f} s), {sent:.2f} times all bytes that "
                f"roles send each other ({figures['all_bytes'] / 1e6:.1f} MB)"
            )
