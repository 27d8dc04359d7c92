"""Data as a .jsonl file of texts: an object on each line, with `text` and `label`.

A label is one of the model's numbers, or a name in its label2id. The checkpoint's own tokenizer makes tokens of texts,
which are cut where the model takes no more, and filled up to the longest one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from secure.models.families.bert_config import BertConfig
from secure.protocols.core.errors import InputError
from secure.search.examples import Examples
from secure.search.teacher import Teacher
from secure.tokens import load_tokenizer, pad, required, tokenize

LINES = ".jsonl"


def read_texts(path: Path, teacher: Teacher) -> Examples:
    """All lines of a file, in memory at once: ids and masks. Shapes: -> int64 [N, 2, T], [N].

    Raises InputError, by the line's number, for one that is no such object, for a label that the model has not, and
    for a text without tokens; CheckpointError where the checkpoint has no tokenizer.
    """
    assert isinstance(teacher.config, BertConfig)
    tokenizer = required(load_tokenizer(teacher.folder))
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {type(error).__name__}") from None
    if len(lines) < 2:
        raise InputError(f"{path} has {len(lines)} lines; two texts are needed, or more")
    names = {str(name): int(number) for name, number in (teacher.raw.get("label2id") or {}).items()}
    found = [_row(path, number, line, names) for number, line in enumerate(lines, 1)]
    config = teacher.config
    rows = tokenize(
        tokenizer,
        [text for text, _ in found],
        limit=config.max_position_embeddings,
        vocabulary=config.vocab_size,
        truncate=True,
    )
    filled = pad(rows, tokenizer.pad_token_id or 0)
    return Examples(torch.stack(filled, 1), torch.tensor([label for _, label in found]))


def _row(path: Path, number: int, line: str, names: dict[str, int]) -> tuple[str, int]:
    try:
        said: Any = json.loads(line)
    except ValueError:
        said = None
    text, label = (said.get("text"), said.get("label")) if isinstance(said, dict) else (None, None)
    label = names.get(label) if isinstance(label, str) else label
    if not isinstance(text, str) or type(label) is not int:
        known = f", or one of {', '.join(sorted(names, key=lambda name: names[name]))}" if names else ""
        raise InputError(f'{path}, line {number}: it must be {{"text": ..., "label": ...}}, the label a number{known}')
    return text, label
