"""Where API keys come from: a file or the environment. Never the command line, which other users can read."""

from __future__ import annotations

import os
from pathlib import Path

from secure.protocols.core.errors import ConfigurationError


def find_api_key(file: Path | None, variable: str) -> str | None:
    """A key: the first line of `file`, else the variable; None where there is neither.

    Raises ConfigurationError when there is one that is empty or cannot be read.
    """
    source, key = variable, os.environ.get(variable)
    if file is not None:
        source = str(file)
        try:
            key = (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(f"the API key file {file} cannot be read") from None
    if key is None:
        return None
    key = key.strip()
    # Header values are ASCII, and a space would end the token.
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise ConfigurationError(f"the API key in {source} is empty or has characters that a header cannot carry")
    return key
