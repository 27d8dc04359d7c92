"""`secure distil`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.search import distilling
    from secure.search import front as fronts

EXAMPLES = examples("secure distil vit-folder --plan found/pareto.json --budget 0.75 --data images.npz --out student")


def distil(
    checkpoint: Annotated[Path, typer.Argument(help="The teacher: the checkpoint that the plans were searched for.")],
    plan: Annotated[Path, typer.Option("--plan", metavar="JSON", help="What secure search has written.")],
    budget: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="The most of the teacher's predicted seconds that it may take."),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="NPZ|DIR|JSONL", help="Inputs and labels, as for secure search.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the student's checkpoint.")],
    epochs: Annotated[int, typer.Option(min=1, help="Of training.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="All chance follows from it.")] = 0,
) -> None:
    """Train a student with the best plan of a budget to answer as its teacher does.

    What is written is a checkpoint like any other, for secure check, secure split and secure predict. A run that was
    stopped goes on from its last epoch.
    """
    chosen = fronts.Front.read(plan).within(budget)
    typer.echo(f"plan: {chosen}")
    distilling.distil(checkpoint, chosen, data, out=out, epochs=epochs, seed=seed, say=typer.echo)
    typer.echo(f"The student is in {out}.")
