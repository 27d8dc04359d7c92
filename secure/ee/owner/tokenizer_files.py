"""The folder of a tokenizer with encrypted ids."""

from __future__ import annotations

import json
from pathlib import Path

from secure.ee.files.base import TOKENIZER_NAME
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.ee.files.folder import new_folder, write_json
from secure.ee.files.tokenizer_ids import encrypt_tokenizer, encrypt_tokenizer_config
from secure.protocols.core.errors import CheckpointError

_SETTINGS_NAME = "tokenizer_config.json"
# They hold texts and no ids.
_COPIED = ("special_tokens_map.json", "chat_template.jinja", "chat_template.json")


def write_encrypted_tokenizer(checkpoint: OpenedCheckpoint, out: Path) -> None:
    """A new folder, for this user only, from which AutoTokenizer reads a tokenizer of encrypted ids.

    Raises CheckpointError where the model has no vocabulary, or the tokenizer is not one that can be moved.
    """
    files = checkpoint.files.files
    if checkpoint.vocabulary is None:
        raise CheckpointError("the model's ids are not encrypted: use its own tokenizer")
    if TOKENIZER_NAME not in files:
        raise CheckpointError(f"the checkpoint had no {TOKENIZER_NAME}; save its tokenizer with use_fast=True first")
    with new_folder(out, private=True) as folder:
        write_json(folder / TOKENIZER_NAME, encrypt_tokenizer(json.loads(files[TOKENIZER_NAME]), checkpoint.vocabulary))
        if _SETTINGS_NAME in files:
            settings = encrypt_tokenizer_config(json.loads(files[_SETTINGS_NAME]), checkpoint.vocabulary)
            write_json(folder / _SETTINGS_NAME, settings)
        for name in _COPIED:
            if name in files:
                (folder / name).write_bytes(files[name])
        for path in folder.iterdir():
            path.chmod(0o600)
