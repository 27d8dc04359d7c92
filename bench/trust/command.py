"""`python -m bench trust`."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.trust import campaign

NAME = "trust"
_CHUNK = 50
"""So many honest sessions are counted at a time."""


def trust(
    minutes: Annotated[float, typer.Option(min=0, help="begin nothing new after so long; the next call goes on")] = 600,
    honest: Annotated[int, typer.Option(min=0, help="sessions in which nobody deviates, in all")] = 1000,
    only: Annotated[str, typer.Option(help="only gates whose name contains this")] = "",
) -> None:
    """Faults of one evaluator or one of two dealers, at every message of every gate: caught, or without effect.

    Beside them honest sessions, which are to end without an alarm, and what a cheater still hears. What earlier calls
    counted stays.

    Example: python -m bench trust --minutes 30
    """
    console, until, record = Console(highlight=False, soft_wrap=True), time.monotonic() + 60 * minutes, _before()
    sessions = Counter(record["honest"])
    while sessions.total() < honest and time.monotonic() < until:
        sessions += campaign.honest(min(_CHUNK, honest - sessions.total()))
        record["honest"] = dict(sorted(sessions.items()))
        _save(record)
        console.print(f"honest sessions: {_words(record['honest'])}")
    if not record["heard"] and time.monotonic() < until:
        record["heard"] = [
            {"who": who, "bytes": size, "p_value": found} for who, size, found in campaign.heard(sessions=5)
        ]
        _save(record)
    names = [name for name in campaign.units() if only in name and name not in record["gates"]]
    for name in names:
        if time.monotonic() > until:
            break
        began = time.monotonic()
        record["gates"][name] = campaign.count(name)
        _save(record)
        found = sum(map(Counter, record["gates"][name].values()), Counter())
        console.print(f"{name}: {_words(found)} ({time.monotonic() - began:.0f} s)")
    left = sum(name not in record["gates"] for name in campaign.units())
    whole = sum(map(Counter, record["totals"].values()), Counter())
    console.print(f"{len(record['gates'])} gates, {left} left: {_words(whole)}")


def _before() -> dict[str, Any]:
    """What was counted before, from bench/results."""
    path = results.FOLDER / f"{NAME}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        name: found.get(name, empty) for name, empty in (("gates", {}), ("honest", {}), ("heard", []), ("totals", {}))
    }


def _save(record: dict[str, Any]) -> None:
    record["totals"] = campaign.totals(record["gates"])
    results.save(NAME, {"kind": NAME} | record)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "nothing"
