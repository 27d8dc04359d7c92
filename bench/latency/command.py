"""python -m bench latency: fit the constants that `secure cost` predicts seconds with, from bench/results."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import results
from bench.latency.fit import check, fit, measured, summary
from secure.models import latency as prediction
from secure.models.speed import measure_speed

console = Console(highlight=False, soft_wrap=True)


def latency(
    leave_out: Annotated[
        list[str] | None, typer.Option(help="a result by name, of a machine that had other things to do; several times")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="rewrite models/latency.json with what is found")] = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="measure the kernels anew, on the machine that the results are of")
    ] = False,
) -> None:
    """Fit what `secure cost` predicts seconds with to all measurements of whole models; predict each from the others.

    No session is measured: `python -m bench model` and `python -m bench mpcvit shapes` do that. Sessions of a machine
    that said it was busy are left out.

    Example: python -m bench latency --update
    """
    found = (
        (path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(results.FOLDER.glob("*.json"))
    )
    left_out = sorted(leave_out or [])
    runs = [run for name, record in found for run in measured(record, name) if run.name not in left_out]
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
        speed = measure_speed() if kernels else prediction.reference_speed()
        content = results.environment() | {"left_out": left_out, "kernels": asdict(speed)} | record
        prediction.FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        console.print(f"written to models/{prediction.FILE.name}")
