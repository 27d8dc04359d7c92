"""`secure chat`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure.cli.adversary import SecurityOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, ProtocolOption, WeightsOption, examples
from secure.cli.text.loaded import loaded

if TYPE_CHECKING:
    from secure.api import PrivateModel

with lazy_imports(__name__):
    from secure import tokens
    from secure.cli.text import dialogue
    from secure.models.storage import capacity

EXAMPLES = examples(
    "secure chat path/to/model",
    "secure chat shares --config parties.toml --new-tokens 200",
    "secure chat shares --config parties.toml < questions.txt > answers.txt",
)


def chat(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A model with a chat template, as checkpoint or split.")],
    new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 100,
    config: ConfigOption = None,
    weights: WeightsOption = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
) -> None:
    """Talk to a private model: a line in, an answer out, until Ctrl-D.

    What was said stays with this command and goes to the parties in shares, all of it with each line. Without --config,
    parties are started on this machine for this one command.
    """
    dialogue.check_template(tokens.load_tokenizer(model), model)  # before processes start
    with loaded(model, config, protocol, weights, head=True, security=security) as private:
        _talk(private, new_tokens)


def _talk(model: PrivateModel, new_tokens: int) -> None:
    asks = sys.stdin.isatty()
    said = dialogue.Dialogue(model, new_tokens)
    while True:
        if asks:
            typer.echo("you> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if not line.strip():
            continue
        for piece in said.answer(line.strip()):
            typer.echo(piece, nl=False)
        typer.echo()
        found = model.report
        sent = capacity.human_bytes(found.online_bytes)
        typer.echo(f"  {found.seconds:.1f} s, {found.rounds} rounds, {sent} between the parties", err=True)
