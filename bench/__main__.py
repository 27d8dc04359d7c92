"""python -m bench: measure models, write bench/results, renew README's table."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

from bench import baseline, report, results
from bench.measure import EXCLUDES, INCLUDES, Setting, measure

app = typer.Typer(no_args_is_help=True, help="Measure secure inference with three real processes on this machine.")
console = Console()


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="minilm, bert-base or bert-large")],
    tokens: Annotated[int, typer.Option(min=1, help="tokens of each input")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="inputs at a time")] = 1,
    weights: Annotated[Literal["private", "public"], typer.Option(help="who may see the weights")] = "private",
    layers: Annotated[int | None, typer.Option(min=1, help="fewer layers than the model has")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="runs after the warm-up")] = 5,
) -> None:
    """One model's seconds, rounds, bytes, memory and error.

    Example: python -m bench model minilm --tokens 16
    """
    console.print(f"[dim]included: {INCLUDES}\nexcluded: {EXCLUDES}[/dim]")
    record = measure(Setting(name, tokens, batch, weights, layers, repeats), console)
    path = results.save(f"{name}-{f'{layers}layers-' if layers else ''}{weights}-{batch}x{tokens}", record)
    console.print(f"median {record['median_seconds']:.3f} s, {record['rounds']} rounds, ", end="")
    console.print(
        f"online {record['online_bytes'] / 1e6:.2f} MB, dealer {record['dealer_bytes'] / 1e6:.2f} MB, ", end=""
    )
    console.print(f"largest error {record['max_error']:.1e}\nwritten to {path.name}")


@app.command("report")
def renew_report() -> None:
    """Renew the table in README.md from bench/results."""
    records = [record for record in results.load_all() if record["kind"] == "model"]
    report.update_readme(records)
    console.print(f"README.md has {len(records)} rows")


@app.command("baseline")
def guard(
    update: Annotated[bool, typer.Option("--update", help="rewrite bench/baseline.json with what is found")] = False,
) -> None:
    """Compare bytes, rounds and error of each model with bench/baseline.json, as `make test` does.

    Example: python -m bench baseline --update
    """
    if update:
        baseline.update(say=console.print)
        console.print(f"written to {baseline.FILE.name}")
        return
    differences = baseline.differences(baseline.read(), say=console.print)
    for line in differences:
        console.print(f"[red]{line}[/red]")
    if differences:
        console.print(f"if the change is meant: {baseline.UPDATE}")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
