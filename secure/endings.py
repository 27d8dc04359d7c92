"""The tokens that end a text, where a checkpoint's folder names them and no tokenizer does."""

from __future__ import annotations

import json
from pathlib import Path

from protocols.core.errors import CheckpointError

GENERATION_NAME = "generation_config.json"
_FILES = (GENERATION_NAME, "config.json")  # the first that has the field counts, as in transformers


def read_endings(folder: Path) -> tuple[int, ...]:
    """eos_token_id of generation_config.json, else of config.json; none where neither has it.

    Raises CheckpointError when it is no token id and no list of them.
    """
    for path in (folder / name for name in _FILES):
        try:
            value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if any(type(number) is not int for number in ids):
            raise CheckpointError(f"{path.name}: eos_token_id is {value!r}; it must be a token id or a list of them")
        return tuple(ids)
    return ()
