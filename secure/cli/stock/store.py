"""`secure store`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import end, examples
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.models.storage import capacity
    from secure.parties import settings_file as settings
    from secure.parties.client import operator

EXAMPLES = examples(
    "secure store --config parties.toml --role p1",
    "secure store verify --config parties.toml --role p1",
    "secure store burn --config parties.toml --role p0 --shape '1x16 embedding'",
)

_DAY_SECONDS = 86_400


def store(
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file as the party's.")],
    role: Annotated[
        Literal["p0", "p1", "p2", "dealer"],
        typer.Option(help="The party on this host; a dealer has nothing but troubles."),
    ],
    action: Annotated[
        Literal["show", "verify", "burn"],
        typer.Argument(help="Show what there is, read every tape, or give deals up."),
    ] = "show",
    shape: Annotated[str | None, typer.Option(metavar="SHAPE", help="With burn: deals of a shape, as shown.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="With burn: all deals.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what there is as JSON.")] = False,
) -> None:
    """What a running party has in stock; on its own host, with its certificate.

    What is there lasts so many days at the use of today or yesterday.
    """
    if (action == "burn") != bool(shape or everything) or (shape and everything):
        raise ConfigurationError("burn takes --shape SHAPE or --all, and nothing else takes either")
    asked = operator.Operator(settings.load_settings(config), role)
    rows = [] if role == "dealer" and action == "show" else asked.stock(action, shape)
    troubles = [row["trouble"] for row in asked.stock("troubles")] if action == "show" else []
    if as_json:
        typer.echo(json.dumps({"deals": rows, "troubles": troubles} if action == "show" else rows))
    elif action == "burn":
        typer.echo(f"{rows[0]['burnt']} deals are burnt")
    elif action == "verify":
        for row in rows:
            typer.echo(f"burnt, as it was damaged: {row['damaged']}")
        typer.echo("every tape in stock is whole")
    else:
        table = Table("shape", "state", "deals", "bytes", "oldest", "lasts", "why", box=None, padding=(0, 2))
        for row in rows:
            size = capacity.human_bytes(row["size_bytes"]) if row["state"] == "stock" else ""
            oldest = "" if row["oldest_seconds"] is None else f"{row['oldest_seconds'] / _DAY_SECONDS:.1f} days"
            lasts = "" if row["days"] is None else f"{row['days']:.1f} days"
            table.add_row(
                escape(row["shape"]), row["state"], str(row["count"]), size, oldest, lasts, escape(row["why"])
            )
        Console().print(table)
        for trouble in troubles:
            typer.echo(f"trouble: {trouble}; see the party's log")
    if action == "verify" and rows:
        end(ExitCode.SESSION)
