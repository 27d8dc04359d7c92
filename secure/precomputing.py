"""Predictions' correlations made ahead by a client and a model's owner, for their stocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secure.models.contract.manifest import GRAPH, Manifest
from secure.models.contract.request import Request
from secure.models.program import network
from secure.parties.client.operator import Operator
from secure.parties.config import PartiesSettings
from secure.protocols.core.errors import ConfigurationError, InputError
from secure.protocols.families import those_with


@dataclass(frozen=True)
class Precomputed:
    """What was made, and for how many predictions. kept_bytes: by both parties, for each."""

    count: int
    seconds: float
    kept_bytes: int


def precompute(
    settings: PartiesSettings,
    manifest: Manifest,
    count: int,
    progress: Callable[[int], None] | None = None,
    *,
    tokens: int | None = None,
    batch: int = 1,
) -> Precomputed:
    """Have p0 and p1 make what so many predictions take. It is asked for with p0's certificate, on p0's host.

    progress: told how many are done. tokens, batch: of each prediction, without padding, where its model takes tokens;
    a captured module has the one shape. Raises ConfigurationError where the parties make nothing themselves or have no
    `[stock]`, InputError where a number of tokens is missing or too large, ModelNotLoaded, StockFull, and SessionError
    and its kinds.
    """
    if "dealer" in settings.parties or not settings.family.stocks:
        makers = those_with(lambda family: family.stocks and "dealer" not in family.roles)
        raise ConfigurationError(
            f"the parties of protocol {settings.protocol!r} make nothing ahead themselves; that is {makers}. What a "
            "dealer deals ahead, secure deal asks for"
        )
    net = network(manifest)
    if manifest.architecture == GRAPH:
        request = net.request(net.whole_output, {})
    else:
        due = tokens or net.due_tokens
        if due is None:
            raise InputError("this model takes tokens; say how many each prediction has that is made for: tokens=128")
        request = Request(net.whole_output, batch, due, masked=False)
        net.validate(request)
    row = Operator(settings, "p0").deal(manifest.digest, request.to_json(), count, progress)
    return Precomputed(row["dealt"], row["seconds"], row["bytes"])
