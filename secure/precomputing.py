"""Predictions' correlations made ahead by a client and a model's owner, for their stocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secure.models.contract.manifest import Manifest
from secure.models.program import network
from secure.parties.client.operator import Operator
from secure.parties.config import PartiesSettings
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import those_with


@dataclass(frozen=True)
class Precomputed:
    """What was made, and for how many predictions. kept_bytes: by both parties, for each."""

    count: int
    seconds: float
    kept_bytes: int


def precompute(
    settings: PartiesSettings, manifest: Manifest, count: int, progress: Callable[[int], None] | None = None
) -> Precomputed:
    """Have p0 and p1 make what so many predictions take. It is asked for with p0's certificate, on p0's host.

    progress: told how many are done. Raises ConfigurationError where the parties make nothing themselves or have no
    `[stock]`, ModelNotLoaded, StockFull, and SessionError and its kinds.
    """
    if "dealer" in settings.parties or not settings.family.stocks:
        makers = those_with(lambda family: family.stocks and "dealer" not in family.roles)
        raise ConfigurationError(
            f"the parties of protocol {settings.protocol!r} make nothing ahead themselves; that is {makers}. What a "
            "dealer deals ahead, secure deal asks for"
        )
    net = network(manifest)
    request = net.request(net.whole_output, {})
    row = Operator(settings, "p0").deal(manifest.digest, request.to_json(), count, progress)
    return Precomputed(row["dealt"], row["seconds"], row["bytes"])
