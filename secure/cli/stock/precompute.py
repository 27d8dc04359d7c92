"""`secure precompute`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure import precomputing
    from secure.models.checkpoint import conversion
    from secure.models.storage import capacity
    from secure.parties import settings_file as settings

EXAMPLES = examples(
    "secure precompute shares --config parties.toml --count 8",
    "secure store --config parties.toml --role p0",
)


def precompute(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder with the model's manifest.json.")],
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file as p0's.")],
    count: Annotated[int, typer.Option(min=1, help="For how many predictions.")] = 1,
    tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens of each; a captured module has its own shape.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Inputs of each, where the model takes tokens.")] = 1,
) -> None:
    """Protocol hybrid: make ahead what predictions take before their input, on p0's host, while p0 and p1 run.

    Both keep what they make in their stocks. Each prediction uses one up; where none is left it is made on demand. The
    model has to be loaded.
    """
    manifest = conversion.read_manifest(model)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("made", total=count)
        done = precomputing.precompute(
            settings.load_settings(config),
            manifest,
            count,
            lambda done: bar.update(task, completed=done),
            tokens=tokens,
            batch=batch,
        )
    each = capacity.human_bytes(done.kept_bytes)
    typer.echo(f"made ahead for {done.count} predictions in {done.seconds:.1f} s; P0 and P1 keep {each} for each")
