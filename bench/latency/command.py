"""python -m bench latency: fit the constants that `secure cost` predicts seconds with, from bench/results."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import results
from bench.latency.fit import check, fit, measured, summary
from secure.models import latency as prediction

console = Console(highlight=False, soft_wrap=True)


def latency(
    leave_out: Annotated[
        list[str] | None, typer.Option(help="a result by name, of a machine that had other things to do; several times")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="rewrite models/latency.json with what is found")] = False,
) -> None:
    """Fit what `secure cost` predicts seconds with to all measurements of whole models; predict each from the others.

    Nothing is measured: `python -m bench model` does that.

    Example: python -m bench latency --update
    """
    found = (
        (path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(results.FOLDER.glob("*.json"))
    )
    left_out = sorted(leave_out or [])
    runs = [run for name, record in found if name not in left_out and (run := measured(record, name)) is not None]
    checks, constants = check(runs), fit(runs)
    table = Table("measurement", "network", "seconds", "fitted", "from the others", "error")
    for each in checks:
        held_out, error = each.held_out_seconds, each.held_out_error
        table.add_row(
            each.run.name,
            each.run.network,
            f"{each.run.seconds:.3f}",
            f"{each.fitted_seconds:.3f}",
            "" if held_out is None else f"{held_out:.3f}",
            "" if error is None else f"{error:+.1%}",
        )
    console.print(table)
    record = summary(checks, constants)
    held_out = record["held_out"]
    console.print(f"held out: median error {held_out['median_error']:.1%}, largest {held_out['largest_error']:.1%}")
    if update:
        content = results.environment() | {"left_out": left_out} | record
        prediction.FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        console.print(f"written to models/{prediction.FILE.name}")
