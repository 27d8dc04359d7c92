"""`python -m bench kills`."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.kills.campaign import Outcome, campaign, plan

NAME = "kills"
_EACH = 25
"""Kills of one set of parties; each set is counted when it has ended."""


def kills(
    count: Annotated[int, typer.Option(min=1, help="how many kills there are to be in all")] = 500,
    most: Annotated[int | None, typer.Option(min=1, help="at most so many now; the next call goes on")] = None,
) -> None:
    """Kill P0 and P1 at random instants and at every marked point; no deal of the stock is to be used twice.

    What earlier calls counted stays, so the campaign can be stopped and taken up again.

    Example: python -m bench kills --count 500 --most 50
    """
    console, done = Console(highlight=False, soft_wrap=True), _before()
    left = min(count - done["kills_total"], most or count)
    while left > 0:
        with tempfile.TemporaryDirectory(prefix="secure-inference-kills-") as folder:
            found = run(Path(folder), min(left, _EACH), random.randrange(1 << 30), console)
        done = added(done, found.to_json())
        left -= found.kills.total()
        results.save(NAME, {"kind": NAME} | done)
        console.print(
            f"{done['kills_total']} kills: {done['used_twice']} deals used twice, {done['lost']} lost, at most "
            f"{done['most_lost']} by one kill, {done['answers']} answers, {done['wrong']} of them wrong"
        )


def run(folder: Path, count: int, seed: int, console: Console | None = None) -> Outcome:
    """So many kills of one set of parties in an empty folder."""
    with campaign(folder) as parties:
        for role, point, seconds in plan(count, seed):
            parties.kill_once(role, point, seconds)
            if console is not None:
                console.print(f"[dim]{role} killed: {point}[/dim]")
        parties.finish()
        return parties.outcome


def added(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two campaigns as one."""
    total = {name: first[name] + second[name] for name in second if name not in ("kills", "most_lost")}
    kills = Counter(first["kills"]) + Counter(second["kills"])
    return {**total, "kills": dict(sorted(kills.items())), "most_lost": max(first["most_lost"], second["most_lost"])}


def _before() -> dict[str, Any]:
    """What was counted before, from bench/results."""
    empty = Outcome().to_json()
    path = results.FOLDER / f"{NAME}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty
    return {name: record[name] for name in empty}
