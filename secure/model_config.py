"""A model's config.json as the object of transformers that users of `model.config` expect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from secure.models.checkpoint.folder import CONFIG_NAME, read_json
from secure.protocols.core.errors import CheckpointError


def read_config_fields(folder: Path) -> dict[str, Any]:
    """The fields of a folder's config.json; none where it has none. Raises CheckpointError for a broken one."""
    path = folder / CONFIG_NAME
    return read_json(path) if path.is_file() else {}


def model_config(fields: Mapping[str, Any]) -> PretrainedConfig:
    """What transformers makes of these fields. Raises CheckpointError where it makes nothing of them."""
    try:
        return AutoConfig.for_model(**fields)
    # Each class of transformers has its own ways to refuse a field.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"transformers has no configuration for this model's config.json: {reason[0] if reason else error!r}"
        ) from None
