"""Reading a file that holds one JSON value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure.protocols.core.errors import ConfigurationError, SecureInferenceError


def read_json(path: Path | str, otherwise: type[SecureInferenceError], wrong: str) -> Any:
    """What the file holds.

    Raises ConfigurationError for a file that cannot be read. For one that is no JSON in UTF-8 it raises `otherwise`,
    with what is `wrong` then, such as "has no canaries".
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise otherwise(f"{path}: {wrong}: it is no JSON") from None
