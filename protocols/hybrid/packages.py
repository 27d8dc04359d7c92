"""What this family needs beyond every other one: packages of the extra `he`, imported at their first use."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from secure.protocols.core.errors import ConfigurationError

_NEEDED = ("tenseal", "zstandard", "Crypto")


def check_installed() -> None:
    """Raises ConfigurationError where one of the packages is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"protocol 'hybrid' needs packages that are missing ({', '.join(missing)}); install them with: "
            "pip install 'secure-inference[he]'"
        )


def needed(module: str) -> ModuleType:
    """A module of one of them. Raises ConfigurationError where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        check_installed()
        raise
