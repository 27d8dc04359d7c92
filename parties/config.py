"""Settings of a set of parties: where they are, their certificates, and the limits they keep.

`parties.toml` has them (see `settings_file`), or a launcher makes them. Frozen; the code passes them round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from secure.parties.stock_settings import StockSettings
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.family import Family
from secure.protocols.families import DEFAULT, FAMILIES, those_with

PARTIES = DEFAULT.roles
"""Roles that run a process, by default."""
CALLERS = ("client", "owner")
"""Roles that ask for sessions."""
ROLES = (*PARTIES, *CALLERS)
"""Every role that has a certificate, by default."""
ALL_PARTIES = tuple(dict.fromkeys(role for family in FAMILIES.values() for role in family.roles))
"""Roles that run a process under some protocol."""
DEALERS = tuple(dict.fromkeys(role for family in FAMILIES.values() for role in family.dealers))
"""Roles that deal under some protocol."""


ProfileName = Literal["near", "far", "auto"]
EngineName = Literal["garbled", "transfer"]


@dataclass(frozen=True)
class PartySettings:
    """One party: `address` is where others reach it, `listen` where it binds, `device` what it computes on, `admin`
    where it shows its figures to its operator, if anywhere.
    """

    address: str
    listen: str
    device: str = "cpu"
    admin: str = ""


@dataclass(frozen=True)
class Limits:
    """Bounds in time and memory that every process keeps."""

    threads: int = 1
    """Threads of the tensor library in each party."""
    sessions: int = 16
    """Sessions at a time in one process."""
    queue: int = 64
    """Clients that may wait at p0 for a place."""
    busy_seconds: float = 30.0
    """How long a client waits for its turn; with 0 it is told at once that the parties are busy."""
    session_seconds: float = 3600.0
    """How long a session may take in all."""
    session_bytes: int | None = None
    """What a session may take of a party's memory beside the model; None for what is free."""
    drain_seconds: float = 60.0
    """How long a party that was told to stop lets running sessions go on."""
    memory_bytes: int | None = None
    """What a party's process may take while it loads and keeps models, of a card's memory where it computes on one;
    None for what is available."""
    rendezvous_seconds: float = 5.0
    """How long a role waits for another one to join a session."""
    idle_seconds: float = 120.0
    """How long a client may let a party wait: for an input, the next piece of an upload, or to take what it is sent."""
    share_bytes: int = 8 << 30
    """Largest share file that can be uploaded."""
    dealer_send_bytes: int = 8 << 20
    """What the dealer may have queued for sending."""
    dealer_receive_bytes: int = 64 << 20
    """What p1 reads ahead of the dealer's stream."""


@dataclass(frozen=True)
class Quota:
    """What each client may take of a party, by the name in its certificate. None is no bound."""

    sessions: int | None = None
    """At a time."""
    predictions_per_day: int | None = None
    bytes_per_day: int | None = None
    """That it sends and gets, at this role."""


@dataclass(frozen=True)
class Measure:
    """What measurements change: phases apart, and the network that there would be. All roles must agree on it."""

    offline_first: bool = False
    """Whether p1 takes in all that the dealer sends, however much, before the client sends its input."""
    delay_seconds: float = 0.0
    """How long after its arrival each frame is delivered."""
    bytes_per_second: float = math.inf
    """At most this much payload is delivered on each stream in each direction."""

    @property
    def shapes(self) -> bool:
        """Whether the network is to be slower than it is."""
        return self.delay_seconds > 0 or self.bytes_per_second < math.inf


@dataclass(frozen=True)
class PartiesSettings:
    """Frozen settings of a whole set of parties. All paths are absolute."""

    parties: Mapping[str, PartySettings]
    tls_dir: Path
    models_dir: Path | None = None
    limits: Limits = field(default_factory=Limits)
    quota: Quota = field(default_factory=Quota)
    measure: Measure = field(default_factory=Measure)
    protocol: str = DEFAULT.name
    stock: StockSettings | None = None
    garbler: Literal["client", "server", "nobody"] = "client"
    """Who garbles circuits, in a protocol that has any: p0, at the client, or p1, the server; or nobody, where all is
    made of oblivious transfers."""
    profile: ProfileName = "near"

    @property
    def family(self) -> Family:
        """The family that `protocol` names: its roles are the keys of `parties`."""
        return FAMILIES[self.protocol]

    def party(self, role: str) -> PartySettings:
        """The settings of a role. Raises ConfigurationError when it has no part in the protocol."""
        if role not in self.parties:
            roles = ", ".join(self.parties)
            raise ConfigurationError(f"{role} has no part in the protocol {self.protocol!r}; its roles are {roles}")
        return self.parties[role]

    def device(self, role: str, given: str | None = None) -> str:
        """What a role computes on: what is given, or what the file says. Raises ConfigurationError as `party`, and for
        a graphics card where the protocol has none.
        """
        name = given or self.party(role).device
        if not self.family.on_cards and name != PartySettings.device:
            raise ConfigurationError(
                f"{role} is to compute on {name}: the protocol {self.protocol!r} computes on the CPU alone; "
                f"leave the device out, or choose the protocol {those_with(lambda family: family.on_cards)}"
            )
        return name


def split_address(address: str) -> tuple[str, int]:
    """'host:port' or '[v6]:port' as (host, port). Raises ValueError."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or set(host) & set("/ ") or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(address)
    return host.strip("[]"), int(port)
