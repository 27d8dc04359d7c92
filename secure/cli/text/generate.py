"""`secure generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure.cli.adversary import SecurityOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, ProtocolOption, WeightsOption, examples
from secure.cli.text.loaded import loaded
from secure.cli.text.sentences import find_text

with lazy_imports(__name__):
    from torch import random

EXAMPLES = examples(
    "secure generate path/to/gpt2 prompt.txt",
    "secure generate shares --config parties.toml --new-tokens 64 < prompt.txt",
    "secure generate path/to/gpt2 --temperature 0.8 --seed 1 --text 'Once upon a time'",
)


def generate(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A language model: a checkpoint or a split folder.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The prompt; standard input when it is missing or -.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="PROMPT", help="A prompt that other users may see: they can read command lines."),
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 20,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Draw tokens, the more evenly the higher it is; 0 takes the likeliest.")
    ] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes what is drawn the same each time.")] = None,
    config: ConfigOption = None,
    weights: WeightsOption = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
) -> None:
    """Continue a text privately, and print what follows as it arrives.

    Without --config, parties are started on this machine for this one command.
    """
    prompt = find_text(file, text)
    if seed is not None:
        random.manual_seed(seed)
    drawing = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    with loaded(model, config, protocol, weights, head=True, security=security) as private:
        for piece in private.stream(prompt, max_new_tokens=new_tokens, progress=False, **drawing):
            typer.echo(piece, nl=False)
        typer.echo()
        Console(stderr=True).print(private.report)
