"""`secure predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure.cli.adversary import SecurityOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import (
    ConfigOption,
    ProfileOption,
    ProtocolOption,
    SentencesFile,
    SentencesText,
    WeightsOption,
    examples,
)
from secure.cli.text.loaded import loaded
from secure.cli.text.sentences import find_sentences
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure import tokens

EXAMPLES = examples(
    "secure predict sentences.txt",
    "secure predict --config parties.toml --model shares < sentences.txt",
    "secure predict --receipt receipt.json --security malicious sentences.txt",
    "secure predict --json --out embeddings.json --text 'no secret' --text 'another one'",
)


def predict(
    file: SentencesFile = None,
    text: SentencesText = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint or split folder; the default is the demo's model.")
    ] = None,
    config: ConfigOption = None,
    weights: WeightsOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most sentences in one session.")] = 8,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut sentences that are too long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print embeddings and report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write that JSON to a file.")] = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what every role signed, for secure verify.")
    ] = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
    profile: ProfileOption = None,
) -> None:
    """Embed sentences privately. Without --config, parties are started on this machine for this one command."""
    texts = find_sentences(file, text or [])
    tokens.check_sentences(texts)  # before processes start
    # A sentence's embedding needs no head.
    with loaded(
        model or model_folder(), config, protocol, weights, head=False, security=security, profile=profile
    ) as private:
        embeddings = private.encode(texts, batch_size=batch_size, truncate=truncate)
    if receipt is not None and private.report.receipt is not None:
        private.report.receipt.save(receipt)
    value = {"embeddings": embeddings.tolist(), "report": json.loads(private.report.to_json())}
    if out is not None:
        _write(out, json.dumps(value))
    if as_json:
        typer.echo(json.dumps(value))
        return
    for sentence, row in zip(texts, embeddings.tolist(), strict=True):
        typer.echo(f"[{', '.join(f'{x:+.4f}' for x in row[:4])}, … {len(row)} numbers]  {sentence}")
    Console().print(private.report)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
