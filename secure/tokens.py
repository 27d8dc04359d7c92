"""Sentences to token ids, at the client. Whatever is wrong with a sentence is said here, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from secure.protocols.core.errors import CheckpointError, InputError

MOST_BATCH_TOKENS = 256
"""Padded tokens in one session, one sentence's alone apart. The parties' memory grows with them: with MiniLM's
vocabulary of 30,522 words, 256 tokens take P1 to 1.7 GB."""
_MOST_ONE_HOT = MOST_BATCH_TOKENS * 30_524
"""Entries of one-hot vectors in one session: with MiniLM's table, of words and two token types, that many tokens. The
250,002 words of XLM-R leave 31."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "special_tokens_map.json")
_FILES = TOKENIZER_FILES[:-1]
"""One of these makes a tokenizer."""


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


def required(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """The tokenizer that a text needs. Raises CheckpointError where a model has none."""
    if tokenizer is None:
        raise CheckpointError(
            "the model's folder has no tokenizer (tokenizer.json or vocab.txt); add it, or pass token ids"
        )
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
    check_sentences(sentences)
    limit = min(limit, tokenizer.model_max_length)
    ids: list[list[int]] = tokenizer(
        list(sentences), padding=False, truncation=truncate, max_length=limit if truncate else None, verbose=False
    )["input_ids"]
    nothing = tokenizer("")["input_ids"]
    for i, row in enumerate(ids):
        if row == nothing:
            raise InputError(f"sentence {i} has no tokens: the tokenizer drops every character of it")
    check_rows(ids, limit=limit, vocabulary=vocabulary)
    return ids


def check_rows(ids: Sequence[Sequence[int]], *, limit: int, vocabulary: int) -> None:
    """Raises InputError, by the row's number, for one that is empty, too long, or has ids that the model does not know.

    limit: most tokens of a row. vocabulary: number of words that the model knows.
    """
    if not ids:
        raise InputError("there are no sentences to encode")
    for i, row in enumerate(ids):
        if not row:
            raise InputError(f"sentence {i} has no tokens")
        if len(row) > limit:
            raise InputError(
                f"sentence {i} has {len(row)} tokens, this model takes {limit}; shorten it, or cut with truncate=True"
            )
        unknown = [token for token in row if not 0 <= token < vocabulary]
        if unknown:
            raise InputError(
                f"sentence {i} has token {unknown[0]}, the model knows 0 to {vocabulary - 1}; "
                "the tokenizer belongs to another model"
            )


def batches(ids: Sequence[Sequence[int]], batch_size: int, padding: int, *, one_hot: int = 1) -> list[Batch]:
    """Batches of similar length, padded at the end.

    The parties see each batch's padded length. Sorting by length keeps the padding, hence their work, small. A batch
    has at most `batch_size` sentences and MOST_BATCH_TOKENS tokens, fewer where each travels as a vector of `one_hot`
    entries and that is many. Raises InputError for a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more")
    most_tokens = most_batch_tokens(one_hot)
    groups: list[list[int]] = []
    for i in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        # Lengths ascend, so that the newest sentence is the longest of its batch.
        full = not groups or len(groups[-1]) == batch_size
        if full or (len(groups[-1]) + 1) * len(ids[i]) > most_tokens:
            groups.append([])
        groups[-1].append(i)
    return [Batch(rows, *pad([ids[i] for i in rows], padding)) for rows in groups]


def most_batch_tokens(one_hot: int) -> int:
    """Padded tokens of several rows that may travel in one session, each as a vector of `one_hot` entries."""
    return min(MOST_BATCH_TOKENS, _MOST_ONE_HOT // one_hot)


def pad(ids: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Token ids and their mask. Shapes: both int64 [B, T], T the longest."""
    rows = [torch.tensor(row) for row in ids]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
    attention_mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return input_ids, attention_mask


def check_sentences(sentences: Sequence[str]) -> None:
    """What needs no tokenizer. Raises InputError for no sentences, what is no string, and empty ones."""
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
