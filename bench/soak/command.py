"""`python -m bench soak`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import results
from bench.soak.campaign import MOST_GROWN, Phase, soak

NAME = "soak"
console = Console(highlight=False, soft_wrap=True)


def soak_parties(
    predictions: Annotated[int, typer.Option(min=20, help="in all, half of them before the first look")] = 1000,
    clients: Annotated[int, typer.Option(min=1, help="that predict at a time")] = 8,
    kills: Annotated[int, typer.Option(min=4, help="in all, half of them before the first look")] = 40,
    again: Annotated[bool, typer.Option(help="forget what earlier calls did")] = False,
) -> None:
    """Predict while roles are killed: memory, threads, files and sessions of whoever lives do not grow.

    It has two phases: p0 lives through the first, p1 through the second. Each is written when it is over, so that a
    campaign that was stopped goes on with the phase that is missing.

    Example: python -m bench soak

    Example: python -m bench soak --predictions 100 --kills 4
    """
    results.commit()
    asked = {"predictions": predictions, "clients": clients, "kills": kills}
    done: list[dict[str, Any]] = [] if again else before(asked)
    for phase in phases(predictions, clients, kills)[len(done) :]:
        with tempfile.TemporaryDirectory(prefix="secure-inference-soak-") as folder:
            found = soak(phase, Path(folder)).to_json()
        done.append(found)
        results.save(NAME, {"kind": NAME, "setting": asked, "most_grown": MOST_GROWN, "phases": done})
        console.print(line(found))
    if all(found["within"] for found in done):
        console.print("nothing has grown by more than it may, and every answer was right")
    else:
        console.print("[red]something has grown by more than it may, or an answer was wrong[/red]")


def phases(predictions: int, clients: int, kills: int) -> list[Phase]:
    """Half of it with p0 alive, half with p1; the dealer is killed every third time."""
    found = []
    for lives, other, share in (("p0", "p1", kills // 2), ("p1", "p0", kills - kills // 2)):
        killed = ["dealer" if number % 3 == 2 else other for number in range(share)]
        found.append(Phase(lives, killed, predictions // 2, clients))
    return found


def before(asked: dict[str, int]) -> list[dict[str, Any]]:
    """Phases of an earlier call that was asked for the same and did not come to its end."""
    path = results.FOLDER / f"{NAME}.json"
    if not path.exists():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = record["phases"]
    return found if record["setting"] == asked and len(found) < len(phases(**asked)) else []


def line(found: dict[str, Any]) -> str:
    """One phase in words."""
    grown = "; ".join(
        f"{name}: memory {held['memory_bytes'] / 1e6:+.1f} MB, threads {held['threads']:+d}, files {held['files']:+d}"
        for name, held in found["grown"].items()
    )
    phase = found["phase"]
    return (
        f"{phase['lives']} lives, {len(phase['killed'])} kills: {found['answers']} answers, {found['wrong']} wrong, "
        f"{sum(found['ended'].values())} ended early; {grown}"
    )
