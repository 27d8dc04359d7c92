"""What a process computes, as seen from the transport: two calls, on opaque bytes and opaque models.

Servers know sessions, streams and errors; an `Engine` knows manifests, shares and protocols. Tests use a small one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure.models.program import ClientSteps
from secure.protocols.core.channel import Channel
from secure.protocols.replicated.seeds import PartySeeds

MeterRows = list[dict[str, Any]]


@dataclass(frozen=True)
class Digests:
    """What a manifest commits to: hex digests of itself and of its fixed-point policy."""

    model: str
    policy: str


@dataclass(frozen=True)
class PartyTools:
    """What p0 (role 0) or p1 (role 1) computes with in one session."""

    role: int
    session: bytes
    seed: bytes
    peer: Channel
    dealer: Channel | None
    on_layer: Callable[[str], None]


@dataclass(frozen=True)
class DealerTools:
    """What the dealer computes with in one session: the seeds of p0 and p1, and the way to p1."""

    session: bytes
    seeds: tuple[bytes, bytes]
    to_p1: Channel
    on_layer: Callable[[str], None]


@dataclass(frozen=True)
class CircleTools:
    """What party `index` of three computes with in one session: seeds that it shares, and the way to both others."""

    index: int
    session: bytes
    seeds: PartySeeds
    to_next: Channel
    to_previous: Channel
    on_layer: Callable[[str], None]


Tools = PartyTools | DealerTools | CircleTools


class Engine(ABC):
    """The computation of one role. One engine serves all sessions of a process, also at the same time."""

    @abstractmethod
    def digests(self, manifest_json: str) -> Digests:
        """Read a manifest. Raises CheckpointError when it is none."""

    @abstractmethod
    def find_share(self, models_dir: Path | None, manifest_json: str, role: str) -> Path:
        """The share file of `role` on its own disk. Raises CheckpointError when it is not there."""

    @abstractmethod
    def load(self, tools: Tools, manifest_json: str, share: Path | None) -> tuple[object, MeterRows]:
        """Run the loading program; the model that stays in memory, and the meter's rows.

        `share` is a file for the time of this call; an uploaded one lies in memory. The dealer has none.
        """

    @abstractmethod
    def predict(self, tools: Tools, model: object, request_json: str, client: ClientSteps) -> tuple[bool, MeterRows]:
        """Run the steps of one session; whether the client ended it early, and the meter's rows."""
