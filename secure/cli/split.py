"""`secure split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ProtocolOption, Weights, examples

with lazy_imports(__name__):
    from secure import split as splitting
    from secure.parties.roles import memory

EXAMPLES = examples("secure split all-MiniLM-L6-v2 --out shares", "secure split bert --out s --weights public")


def split(
    checkpoint: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json, safetensors, tokenizer.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for shares and manifest.")],
    weights: Annotated[Weights, typer.Option(help="Who may know them: nobody, both parties, or P1 alone.")] = "private",
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave out the head that config.json names.")] = False,
    protocol: ProtocolOption = "beaver",
    stream_exponent: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Hold a language model's residual stream times 2^K. Default: what a run in the clear tells.",
        ),
    ] = None,
    output_bits: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Give clients answers with N fraction bits. Default: the policy's, 16."),
    ] = None,
    unchecked_one_hot: Annotated[
        bool,
        typer.Option(
            "--unchecked-one-hot",
            help="Let the parties trust clients to choose one word for each token. A client of its own making could "
            "then read the word table.",
        ),
    ] = False,
) -> None:
    """Split a checkpoint into one share file for each computing party. Any two together are the model.

    Copy p0.safetensors to P0 only, p1.safetensors to P1 only, p2.safetensors, if there is one, to P2 only, and
    manifest.json to all. The client gets every other file, too: config.json, the tokenizer's and, where there are any,
    labels.json and client.safetensors. With that folder alone it loads the model.

    With --weights server, p1.safetensors has the weights in the clear and p0.safetensors nothing: P1 is the model's
    owner.
    """
    with memory.loading():  # a tensor's memory is given back before the next one is read
        manifest = splitting.split(
            checkpoint,
            out,
            weights,
            head=not no_head,
            protocol=protocol,
            stream_exponent=stream_exponent,
            output_bits=output_bits,
            checks_one_hot=not unchecked_one_hot,
        )
    typer.echo(f"{len(manifest.parameters)} tensors, {weights} weights, model {manifest.digest[:12]}, in {out}.")
    if unchecked_one_hot:
        typer.echo("The parties will not check clients' one-hot vectors: a client can read the word table.")
    typer.echo("Each party gets its own share file and manifest.json, the client all that is no share file.")
