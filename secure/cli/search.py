"""`secure search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import PhaseOption, ProtocolOption, Weights, examples

with lazy_imports(__name__):
    from secure.search import searching

EXAMPLES = examples("secure search vit-folder --data images.npz --network wan --out found")


def search(
    checkpoint: Annotated[
        Path, typer.Argument(help="A trained classifier: a folder of ViT's class, or of BERT's for sequences.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="NPZ|DIR|JSONL",
            help="Arrays inputs, as the model takes them, and labels; a folder of pictures by class; texts and labels.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything is kept, and found again.")],
    network: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="As for secure cost: what a plan's seconds are predicted for.")
    ] = "lan",
    protocol: ProtocolOption = "beaver",
    weights: Annotated[Weights, typer.Option(help="Who may know them: nobody, both parties, or P1 alone.")] = "private",
    phase: PhaseOption = "all",
    epochs: Annotated[int, typer.Option(min=1, help="Of training the one network.")] = 5,
    children: Annotated[int, typer.Option(min=0, help="Plans to try after the greedy path.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="All chance follows from it.")] = 0,
) -> None:
    """Find which heads and layers of a classifier need no softmax and no activation, and what that saves.

    One network is trained for all plans, once; stop it and call again, and it goes on. Then plans are read off for any
    network and protocol, without training. pareto.json has all of them, pareto.svg shows them, and
    secure distil trains one.
    """
    front = searching.search(
        checkpoint,
        data,
        out=out,
        network=network,
        protocol=protocol,
        weights=weights,
        phase=phase,
        epochs=epochs,
        children=children,
        seed=seed,
        say=typer.echo,
    )
    table = Table(box=None, padding=(0, 2))
    for name in ("seconds", "of all", "rounds", "divergence", "accuracy"):
        table.add_column(name, justify="right")
    table.add_column("plan, a layer each", overflow="fold")
    for each in front.candidates:
        table.add_row(
            f"{each.seconds:.3f}",
            f"{each.relative_seconds:.2f}",
            str(each.rounds),
            f"{each.divergence:.4f}",
            f"{each.accuracy:.1%}",
            str(each.plan),
        )
    Console(width=max(100, 60 + len(str(front.candidates[0].plan)))).print(table)
    typer.echo(
        f"Divergence and accuracy are before training a plan: secure distil --plan {out / 'pareto.json'} does it."
    )
