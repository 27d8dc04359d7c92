"""The families of secure computation, by name. A family is a folder, and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.family import Family
from secure.protocols.hybrid.family import HYBRID
from secure.protocols.replicated.family import REPLICATED
from secure.protocols.witnessed.family import TWO_DEALERS, WITNESSED

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (BEAVER, REPLICATED, WITNESSED, TWO_DEALERS, HYBRID)}
)
DEFAULT = BEAVER
"""The family where none is named."""


def family(name: str) -> Family:
    """The family of that name. Raises ConfigurationError for an unknown one."""
    if name not in FAMILIES:
        raise ConfigurationError(f"unknown protocol {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def chosen(protocol: str | None, security: str | None, dealers: int | None = None) -> Family:
    """The family of that name, or for that kind of adversary and number of dealers; the default one where none is said.

    Raises ConfigurationError for what is unknown, and for a protocol that does not withstand that adversary or has
    another number of dealers.
    """
    if protocol is None and security is None and dealers is None:
        return DEFAULT
    known = dict.fromkeys(each.security for each in FAMILIES.values())
    if security is not None and security not in known:
        raise ConfigurationError(f"unknown security {security!r}; known are {', '.join(known)}")
    if protocol is None:
        return _first_with(security, dealers)
    found = family(protocol)
    if security not in (None, found.security):
        raise ConfigurationError(
            f"the protocol {protocol!r} has security {found.security!r}, {security!r} is asked for; that is "
            f"{those_with(lambda each: each.security == security)}"
        )
    if dealers not in (None, count := len(found.dealers)):
        raise ConfigurationError(
            f"the protocol {protocol!r} has {count} dealers, {dealers} are asked for; that is "
            f"{those_with(lambda each: len(each.dealers) == dealers) or 'no protocol'}"
        )
    return found


def _first_with(security: str | None, dealers: int | None) -> Family:
    for each in FAMILIES.values():
        if security in (None, each.security) and dealers in (None, len(each.dealers)):
            return each
    needed = "" if security is None else f" with security {security!r}"
    raise ConfigurationError(f"no protocol{needed} has {dealers} dealers")


def those_with(feature: Callable[[Family], bool]) -> str:
    """The names of the families that have a feature, for an error that says which ones do."""
    return " or ".join(repr(each.name) for each in FAMILIES.values() if feature(each))
