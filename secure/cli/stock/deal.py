"""`secure deal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.models.contract import manifest
    from secure.models.storage import capacity
    from secure.parties import settings_file as settings
    from secure.parties.client import operator
    from secure.parties.roles import filler

EXAMPLES = examples(
    "secure deal shares --config parties.toml --shape 1x16 --count 200",
    "secure deal shares --config parties.toml --shape 1x32 --output next_logits --new-tokens 64 --count 20",
)
# The outputs of secure.models.contract.request stand here again, as text that needs no torch.
OutputName = Literal["hidden", "embedding", "logits", "next_logits", "next_token"]


def deal(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder with a manifest.json, or its digest.")],
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file as the dealer's.")],
    shape: Annotated[str, typer.Option(metavar="BxT", help="Batch and tokens of a request.")],
    count: Annotated[int, typer.Option(min=1, help="How many deals.")],
    output: Annotated[OutputName, typer.Option(help="What is computed: encode() takes embedding, a call hidden.")] = (
        "embedding"
    ),
    masked: Annotated[bool, typer.Option("--masked", help="For inputs that are padded, with a mask.")] = False,
    new_tokens: Annotated[
        int, typer.Option(min=0, help="Of a generation: 16, 64 or 256; a session takes the next larger.")
    ] = 0,
) -> None:
    """Deal ahead: on the dealer's host, while the dealer runs, into the stocks of P0, P1 and, where there is one, P2.

    Each deal serves one request of this very shape, without the dealer. The model has to be loaded. A generation takes
    a deal of as many new tokens as it may have, or the next larger number, and burns what it does not use.
    """
    loaded = settings.load_settings(config)
    asked = operator.Operator(loaded, "dealer")
    request = filler.request_of(shape, output, masked=masked, new_tokens=new_tokens)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("dealt", total=count)
        row = asked.deal(_digest(model), request, count, lambda done: bar.update(task, completed=done))
    each = capacity.human_bytes(row["bytes"])
    holders = [role.upper() for role in loaded.family.computing[1:]]
    typer.echo(f"{row['dealt']} deals in {row['seconds']:.1f} s, {each} each at {' and '.join(holders)}")


def _digest(model: str) -> str:
    """The digest of a manifest in a folder, or the one that is given. Raises ConfigurationError for anything else."""
    path = Path(model) / "manifest.json"
    if path.is_file():
        return str(manifest.Manifest.from_json(path.read_text(encoding="utf-8")).digest)
    if len(model) == 64 and set(model) <= set("0123456789abcdef"):
        return model
    raise ConfigurationError(f"{model!r} is neither a folder with a manifest.json nor the 64 digits of its digest")
