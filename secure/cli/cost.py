"""`secure cost`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import NetworkProfile, PhaseOption, ProtocolOption, Weights, examples

with lazy_imports(__name__):
    from secure import costs

EXAMPLES = examples(
    "secure cost all-MiniLM-L6-v2 --tokens 128", "secure cost gpt2 --tokens 32 --new-tokens 64 --network wan"
)


def cost(
    checkpoint: Annotated[
        Path, typer.Argument(help="A folder with config.json, or a split one with manifest.json. No weight is read.")
    ],
    tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens of each input. Models of images need no such number.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Inputs of one session.")] = 1,
    new_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Generate as many, each one told to the client alone.")
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="loopback; lan: 1 Gbps, 1 ms; wan: 200 Mbps, 40 ms, there and back; or what secure doctor --measure "
            "wrote.",
        ),
    ] = "lan",
    protocol: ProtocolOption = "beaver",
    weights: Annotated[Weights, typer.Option(help="Who may know them: nobody, both parties, or P1 alone.")] = "private",
    profile: Annotated[
        NetworkProfile, typer.Option(help="As in parties.toml; auto is what parties on that network name.")
    ] = "near",
    phase: PhaseOption = "all",
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave out the head that config.json names.")] = False,
    price_per_gb: Annotated[
        float | None, typer.Option(min=0, metavar="MONEY", help="What 10^9 bytes cost that leave a machine.")
    ] = None,
    price_per_core_hour: Annotated[
        float | None, typer.Option(min=0, metavar="MONEY", help="What an hour of one core costs.")
    ] = None,
) -> None:
    """Say what a session costs before anybody shares anything: rounds, bytes and predicted seconds by layer.

    Rounds and bytes are exact. Seconds are predicted from measurements on one machine: see docs/cost.md for how well.
    """
    found = costs.cost(
        checkpoint,
        tokens=tokens,
        batch=batch,
        new_tokens=new_tokens,
        network=network,
        protocol=protocol,
        weights=weights,
        head=not no_head,
        profile=profile,
        phase=phase,
    )
    dealt = found.price.total.dealer_bytes > 0
    table = Table(box=None, padding=(0, 2))
    table.add_column("layer")
    for name in ("rounds", "online MB", *(["dealer MB"] if dealt else []), "seconds"):
        table.add_column(name, justify="right")
    for row in found.rows:
        megabytes = [row.amount.online_bytes, *([row.amount.dealer_bytes] if dealt else [])]
        table.add_row(
            row.layer, f"{row.amount.rounds:,}", *(f"{size / 1e6:,.3f}" for size in megabytes), f"{row.seconds:,.3f}"
        )
    Console().print(table)
    for line in found.lines(price_per_gb, price_per_core_hour):
        typer.echo(line)
