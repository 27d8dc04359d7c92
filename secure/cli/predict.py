"""`secure predict`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, ProtocolOption, SentencesFile, SentencesText, Weights, examples
from secure.cli.sentences import find_sentences
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure import api, connection, tokens
    from secure.models.checkpoint import conversion

EXAMPLES = examples(
    "secure predict sentences.txt",
    "secure predict --config parties.toml --model shares < sentences.txt",
    "secure predict --json --out embeddings.json --text 'no secret' --text 'another one'",
)


def predict(
    file: SentencesFile = None,
    text: SentencesText = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint or split folder; the default is the demo's model.")
    ] = None,
    config: ConfigOption = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Default: private; of a split folder, as it was split.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most sentences in one session.")] = 8,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut sentences that are too long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print embeddings and report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write that JSON to a file.")] = None,
    protocol: ProtocolOption = "beaver",
) -> None:
    """Embed sentences privately. Without --config, parties are started on this machine for this one command."""
    texts = find_sentences(file, text or [])
    tokens.check_sentences(texts)  # before processes start
    with ExitStack() as ending:
        parties = connection.launch(protocol=protocol) if config is None else connection.connect(config)
        ending.enter_context(parties)
        folder = model or model_folder()
        is_split = (folder / conversion.MANIFEST_NAME).is_file()
        # A sentence's embedding needs no head; a split folder has the head that it was split with.
        loaded = api.PrivateModel.from_pretrained(folder, parties=parties, weights=weights, head=is_split)
        if config is not None and not is_split:
            # These parties stay, and what was split for this command nobody can use after it.
            ending.enter_context(loaded)
        embeddings = loaded.encode(texts, batch_size=batch_size, truncate=truncate)
    value = {"embeddings": embeddings.tolist(), "report": json.loads(loaded.report.to_json())}
    if out is not None:
        _write(out, json.dumps(value))
    if as_json:
        typer.echo(json.dumps(value))
        return
    for sentence, row in zip(texts, embeddings.tolist(), strict=True):
        typer.echo(f"[{', '.join(f'{x:+.4f}' for x in row[:4])}, … {len(row)} numbers]  {sentence}")
    Console().print(loaded.report)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
