"""`python -m bench kills`."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.kills.campaign import Outcome, campaign, plan

NAME = "kills"
_SEED = 20
"""The plan's. A campaign that is taken up again goes on where it was."""
_EACH = 25
"""After so many kills the records are read and the result is written; what comes after is lost when it is stopped."""


def kills(
    count: Annotated[int, typer.Option(min=1, help="how many kills there are to be in all")] = 500,
    most: Annotated[int | None, typer.Option(min=1, help="at most so many now; the next call goes on")] = None,
) -> None:
    """Kill P0 and P1 at random instants and at every marked point; no deal of the stock is to be used twice.

    What earlier calls counted stays, so the campaign can be stopped and taken up again.

    Example: python -m bench kills --count 500 --most 50
    """
    console, before = Console(highlight=False, soft_wrap=True), _before()
    done = before["kills_total"]
    now = plan(count, _SEED)[done:][:most]
    if not now:
        console.print(f"{done} kills are counted already")
        return
    with tempfile.TemporaryDirectory(prefix="secure-inference-kills-") as folder:
        for found in run(Path(folder), now):
            total = added(before, found.to_json())
            results.save(NAME, {"kind": NAME} | total)
            console.print(
                f"{total['kills_total']} kills: {total['used_twice']} of {total['sent']} deals used twice, "
                f"{total['lost']} lost, at most {total['most_lost']} by one kill, {total['answers']} answers, "
                f"{total['wrong']} of them wrong"
            )


def run(folder: Path, planned: list[tuple[str, str, float]]) -> Iterator[Outcome]:
    """Kill one set of parties in an empty folder as planned; now and then all that came of it since the first."""
    with campaign(folder) as parties:
        for number, (role, point, share) in enumerate(planned, start=1):
            parties.kill_once(role, point, share)
            if number % _EACH == 0 or number == len(planned):
                yield parties.outcome()


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
