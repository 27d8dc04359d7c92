"""The families of secure computation, by name. A family is a folder, and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.family import Family
from secure.protocols.hybrid.family import HYBRID
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import WITNESSED

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (BEAVER, REPLICATED, WITNESSED, HYBRID)}
)
DEFAULT = BEAVER
"""The family where none is named."""


def family(name: str) -> Family:
    """The family of that name. Raises ConfigurationError for an unknown one."""
    if name not in FAMILIES:
        raise ConfigurationError(f"unknown protocol {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def chosen(protocol: str | None, security: str | None) -> Family:
    """The family of that name, or for that kind of adversary; the default one where neither is said.

    Raises ConfigurationError for what is unknown, and for a protocol that does not withstand that adversary.
    """
    if protocol is None and security is None:
        return DEFAULT
    known = dict.fromkeys(each.security for each in FAMILIES.values())
    if security is not None and security not in known:
        raise ConfigurationError(f"unknown security {security!r}; known are {', '.join(known)}")
    if protocol is None:
        return next(each for each in FAMILIES.values() if each.security == security)
    found = family(protocol)
    if security not in (None, found.security):
        raise ConfigurationError(
            f"the protocol {protocol!r} has security {found.security!r}, {security!r} is asked for; that is "
            f"{those_with(lambda each: each.security == security)}"
        )
    return found


def those_with(feature: Callable[[Family], bool]) -> str:
    """The names of the families that have a feature, for an error that says which ones do."""
    return " or ".join(repr(each.name) for each in FAMILIES.values() if feature(each))
