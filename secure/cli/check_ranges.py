"""`secure check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import SentencesFile, SentencesText, examples
from secure.cli.text.sentences import find_sentences
from secure.protocols.core.errors import BoundError

with lazy_imports(__name__):
    from secure import checking, tokens

EXAMPLES = examples(
    "secure check all-MiniLM-L6-v2 sentences.txt", "secure check gpt2-folder --text 'no secret' --no-head"
)


def check(
    checkpoint: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json, safetensors, tokenizer.")],
    file: SentencesFile = None,
    text: SentencesText = None,
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave out the head that config.json names.")] = False,
) -> None:
    """Say which layer and value of a checkpoint leave the range of secure arithmetic for some sentences.

    The checkpoint runs in the clear, on this machine. Nothing is shared or sent.
    """
    texts = find_sentences(file, text or [])
    tokens.check_sentences(texts)
    tokenizer = tokens.required(tokens.load_tokenizer(checkpoint))
    ids, mask = tokens.pad(tokenizer(texts)["input_ids"], tokenizer.pad_token_id or 0)
    found = checking.check(checkpoint, head=not no_head, input_ids=ids, attention_mask=mask)
    if not found.fine:
        raise BoundError(str(found))
    typer.echo(str(found))
