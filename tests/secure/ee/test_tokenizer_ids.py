"""A tokenizer with encrypted ids gives what permuting the plain one's ids gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.files.tokenizer_ids import encrypt_tokenizer, largest_id
from secure.ee.owner.tokenizer_files import write_encrypted_tokenizer
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import SIZE

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "c", "##a", "##t"]
TEXTS = ("the cat sat", "cats the", "cat [NEW] cat", "unknown sat")


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    parts = [
        processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]),
        processors.ByteLevel(),
    ]
    tokenizer.post_processor = processors.Sequence(parts)
    return tokenizer


def unigram() -> Tokenizer:
    return Tokenizer(models.Unigram([(word, -float(i)) for i, word in enumerate(WORDS)], unk_id=1))


@pytest.mark.parametrize("make", [word_piece, word_level, unigram])
def test_ids_are_the_plain_ones_permuted(make: Callable[[], Tokenizer], key: Key) -> None:
    vocabulary = Vocabulary(key, 17)
    plain = make()
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.add_tokens([AddedToken("[NEW]")])
    plain.enable_padding(pad_id=0, pad_token="[PAD]", length=12)
    moved = Tokenizer.from_str(json.dumps(encrypt_tokenizer(json.loads(plain.to_str()), vocabulary)))
    for text in TEXTS:
        due = plain.encode(text)
        found = moved.encode(text)
        assert found.ids == vocabulary.encrypt_ids(due.ids)
        assert found.tokens == due.tokens
        assert moved.decode(found.ids) == plain.decode(due.ids)


def test_a_folder_for_clients_without_this_package(encrypted: Path, key: Key, tmp_path: Path) -> None:
    client = open_checkpoint(encrypted, key)
    write_encrypted_tokenizer(client, tmp_path / "out")
    moved, plain = AutoTokenizer.from_pretrained(tmp_path / "out"), client.tokenizer
    assert plain is not None and client.vocabulary is not None
    for text in ("the cat sat", "a <|user|> dog </s>", "ünïcode"):
        due = plain(text)["input_ids"]
        assert moved(text)["input_ids"] == client.vocabulary.encrypt_ids(due)
        assert moved.decode(moved(text)["input_ids"]) == plain.decode(due)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(moved, name) == client.vocabulary.encrypt_ids([getattr(plain, name)])[0]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "out").iterdir())


def test_the_encrypted_folder_shows_no_tokenizer(encrypted: Path) -> None:
    names = {path.name for path in encrypted.iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "encryption.json", "client.sealed"}
    assert b"user" not in (encrypted / "client.sealed").read_bytes()
    assert (encrypted / "client.sealed").stat().st_size % (1 << 18) == 28  # nonce and tag


def test_largest_id_counts_added_tokens() -> None:
    tokenizer = word_piece()
    tokenizer.add_tokens([AddedToken("[NEW]")])
    assert largest_id(json.loads(tokenizer.to_str())) == len(WORDS)
    assert largest_id(json.loads(unigram().to_str())) == len(WORDS) - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"type": "Strange", "vocab": {}}}, "Strange"),
        ({"model": {}}, "no vocabulary"),
        ({"post_processor": {"type": "Odd"}}, "Odd"),
        ({"model": {"type": "WordLevel", "vocab": {"a": SIZE}}}, f"has id {SIZE}, the model knows 0 to {SIZE - 1}"),
    ],
)
def test_what_cannot_be_moved_is_named(key: Key, change: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        encrypt_tokenizer(json.loads(word_level().to_str()) | change, Vocabulary(key, SIZE))
