"""What a round is worth: how many bytes a dealer may send more to save one.

Every choice between gates that compute the same follows from public shapes and from this, so all roles make it alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from secure.protocols.core.errors import ConfigurationError


@dataclass(frozen=True)
class Profile:
    """How the network between the parties is. Every role must have the same: the handshake compares it.

    round_bytes: what the dealer may send more, at a gate, for each round that this saves.
    """

    name: str
    round_bytes: int

    def worth(self, more_bytes: int, rounds: int = 1) -> bool:
        """Whether so many rounds are worth so many bytes more from the dealer."""
        return more_bytes <= rounds * self.round_bytes


NEAR = Profile("near", 1 << 20)
"""One machine or one room: a round takes what a megabyte takes that is dealt and unpacked."""
FAR = Profile("far", 1 << 22)
"""Two places: a round takes what the light takes, and what is dealt comes meanwhile, or came before."""
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (NEAR, FAR)})
AUTO = "auto"
"""Stands in the place of a profile's name where p0 is to name one, by the way to its peers."""
NAMES = (*PROFILES, AUTO)
_NEAR_SECONDS = 5e-3
"""A round trip of more is a far one."""


def named(name: str) -> Profile:
    """The profile of that name. Raises ConfigurationError for an unknown one."""
    if name not in PROFILES:
        raise ConfigurationError(f"unknown network profile {name!r}; known are {', '.join(PROFILES)}")
    return PROFILES[name]


def measured(round_trip_seconds: float) -> Profile:
    """The profile for parties that are so far apart, there and back."""
    return FAR if round_trip_seconds > _NEAR_SECONDS else NEAR
