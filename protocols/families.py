"""The families of secure computation, by name. A family is a folder, and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.family import Family
from secure.protocols.replicated.family import REPLICATED

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (BEAVER, REPLICATED)})
DEFAULT = BEAVER
"""The family where none is named."""


def family(name: str) -> Family:
    """The family of that name. Raises ConfigurationError for an unknown one."""
    if name not in FAMILIES:
        raise ConfigurationError(f"unknown protocol {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def those_with(feature: Callable[[Family], bool]) -> str:
    """The names of the families that have a feature, for an error that says which ones do."""
    return " or ".join(repr(each.name) for each in FAMILIES.values() if feature(each))
