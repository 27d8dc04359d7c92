"""Sentences to token ids, at the client. Whatever is wrong with a sentence is said here, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from protocols.core.errors import CheckpointError, InputError

_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")


@dataclass(frozen=True)
class Batch:
    """Sentences that travel together. rows: their places in the caller's list. Shapes: both tensors int64 [B, T]."""

    rows: list[int]
    input_ids: Tensor
    attention_mask: Tensor


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in a checkpoint folder, None where there is none. Raises CheckpointError for one that is broken."""
    if not any((folder / name).is_file() for name in _FILES):
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # Each tokenizer class has its own ways to fail on bad files.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(f"{folder}: its tokenizer cannot be read: {reason[0] if reason else error!r}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise CheckpointError(f"{folder}: its tokenizer is a {type(tokenizer).__name__}, which is not supported")
    return tokenizer


def tokenize(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], *, limit: int, vocabulary: int, truncate: bool
) -> list[list[int]]:
    """Token ids of every sentence, special tokens included.

    Args:
        limit: most tokens that the model takes; the tokenizer may set a lower one.
        vocabulary: number of words that the model knows.
        truncate: cut a longer sentence, instead of refusing it.

    Raises InputError, by the sentence's number but without its text, for no sentences, something that is no string, an
    empty or too long sentence, and ids that the model does not know.
    """
    _check_sentences(sentences)
    limit = min(limit, tokenizer.model_max_length)
    ids: list[list[int]] = tokenizer(
        list(sentences), padding=False, truncation=truncate, max_length=limit if truncate else None, verbose=False
    )["input_ids"]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for i, row in enumerate(ids):
        if special.issuperset(row):
            raise InputError(f"sentence {i} has no tokens: the tokenizer drops every character of it")
        if len(row) > limit:
            raise InputError(
                f"sentence {i} has {len(row)} tokens, this model takes {limit}; shorten it, or cut with truncate=True"
            )
        if max(row) >= vocabulary:
            raise InputError(
                f"sentence {i} has token {max(row)}, the model knows 0 to {vocabulary - 1}; "
                "the tokenizer belongs to another model"
            )
    return ids


def batches(ids: Sequence[Sequence[int]], batch_size: int, padding: int) -> list[Batch]:
    """Batches of similar length, padded at the end.

    The parties see each batch's padded length. Sorting by length keeps the padding, hence their work, small.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more")
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        longest = max(len(ids[i]) for i in rows)
        input_ids = torch.full((len(rows), longest), padding, dtype=torch.int64)
        attention_mask = torch.zeros_like(input_ids)
        for place, i in enumerate(rows):
            input_ids[place, : len(ids[i])] = torch.tensor(ids[i])
            attention_mask[place, : len(ids[i])] = 1
        found.append(Batch(rows, input_ids, attention_mask))
    return found


def _check_sentences(sentences: Sequence[str]) -> None:
    if isinstance(sentences, str):
        raise InputError("encode takes a list of sentences; for one sentence, a list of one: ['...']")
    if not isinstance(sentences, Sequence):
        raise InputError(f"encode takes a list of sentences, not {type(sentences).__name__}")
    if not sentences:
        raise InputError("there are no sentences to encode")
    for i, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise InputError(f"sentence {i} is of type {type(sentence).__name__}, not a string")
        if not sentence.strip():
            raise InputError(f"sentence {i} is empty")
