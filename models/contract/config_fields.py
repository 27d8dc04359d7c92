"""Reading config.json: a field with a value that is not served is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import CheckpointError


def check_values(config: Mapping[str, Any], required: Mapping[str, Any], only: Mapping[str, Any]) -> None:
    """Raises CheckpointError naming the first field with another value than we serve.

    required: values that must be there. only: the one value that is served where the field is there at all.
    """
    for name, value in {**required, **only}.items():
        found = config.get(name, value if name in only else None)
        if found != value:
            raise CheckpointError(f"config.json: {name} is {found!r}; supported is {value!r}")


def positive(config: Mapping[str, Any], name: str, *, whole: bool) -> Any:
    """A positive number of config.json. Raises CheckpointError when it is missing or something else."""
    if name not in config:
        raise CheckpointError(f"config.json: {name} is missing")
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value <= 0:
        raise CheckpointError(
            f"config.json: {name} is {value!r}; it must be a positive {'whole ' if whole else ''}number"
        )
    return value


def flag(config: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false, the default where it is not there. Raises CheckpointError for anything else."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"config.json: {name} is {value!r}; it must be true or false")
    return value
