"""What a session with a checkpoint costs, for its user, before anybody shares anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secure.models import program
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.manifest import GRAPH, WeightVisibility
from secure.models.contract.network import Network
from secure.models.contract.request import Request
from secure.models.latency import (
    PartyNetwork,
    PredictedSeconds,
    find_network,
    is_fitted,
    predict,
    round_trip_seconds,
)
from secure.models.price import Amount, Phase, Price, price
from secure.parties.config import PartiesSettings, ProfileName
from secure.protocols.core.errors import InputError
from secure.protocols.core.profile import AUTO, measured, named
from secure.protocols.families import DEFAULT, family


@dataclass(frozen=True)
class Row:
    """One layer of a session, its beginning and end, or all of it."""

    layer: str
    amount: Amount
    seconds: float


@dataclass(frozen=True)
class SessionCost:
    """What a session costs on a network. ahead_bytes: what a dealer sends before it, which is left out."""

    price: Price
    prediction: PredictedSeconds
    network: PartyNetwork
    request: Request
    weights: WeightVisibility
    profile: str
    ahead_bytes: int = 0

    @property
    def rows(self) -> list[Row]:
        """Every layer, what belongs to none, and the sum."""
        layers = [Row(layer, amount, self.prediction.layers[layer]) for layer, amount in self.price.layers.items()]
        return [
            *layers,
            Row("session", Amount(), self.prediction.session),
            Row("all", self.price.total, self.prediction.total),
        ]

    @property
    def moved_bytes(self) -> int:
        """What leaves any of the machines during the session, the client's included."""
        total = self.price.total
        return total.online_bytes + total.dealer_bytes + self.price.sent_bytes + self.price.answer_bytes

    @property
    def core_seconds(self) -> float:
        """What all roles compute, each with one core; what waits costs nothing here."""
        return self.prediction.compute * len(family(self.price.protocol).roles)

    def money(self, per_gb: float = 0.0, per_core_hour: float = 0.0) -> float:
        """The price of the session in the currency of the two prices: of 10^9 bytes, and of an hour of one core."""
        return self.moved_bytes / 1e9 * per_gb + self.core_seconds / 3600 * per_core_hour

    def lines(self, per_gb: float | None, per_core_hour: float | None) -> Iterator[str]:
        """What there is to say beside the table. A price that is None is not spoken of."""
        load, price = self.price.loading, self.price
        steps = f", {self.request.steps} steps" if self.request.steps > 1 else ""
        yield (
            f"{price.protocol}, {self.weights} weights, network {self.network.name}, profile {self.profile}: "
            f"{self.request.batch} x {self.request.tokens} tokens{steps}."
        )
        yield f"The client sends {price.sent_bytes / 1e6:,.3f} MB and gets {price.answer_bytes / 1e6:,.3f} MB."
        yield (
            f"Once, to load the model: {load.rounds} rounds, {load.online_bytes / 1e6:,.1f} MB online, "
            f"{load.dealer_bytes / 1e6:,.1f} MB dealt."
        )
        if self.ahead_bytes:
            yield f"The dealer sends {self.ahead_bytes / 1e6:,.1f} MB before the session, which are left out."
        if not is_fitted(price.protocol):
            yield f"Seconds are a guess from {DEFAULT.name!r}, as no run of {price.protocol!r} was measured."
        if self.prediction.least > self.prediction.summed:
            yield (
                f"Bandwidth decides: what comes in at one party takes {self.prediction.least:,.3f} s, its layers alone "
                f"{self.prediction.summed:,.3f} s."
            )
        if per_gb is not None or per_core_hour is not None:
            money = self.money(per_gb or 0.0, per_core_hour or 0.0)
            yield (
                f"Money: {money:.3g} a session: {self.moved_bytes / 1e9:.4f} GB at {per_gb or 0:g}, "
                f"{self.core_seconds:.2f} core-seconds at {per_core_hour or 0:g} an hour."
            )


def cost(
    checkpoint: Path | str,
    *,
    tokens: int | None = None,
    batch: int = 1,
    new_tokens: int | None = None,
    network: PartyNetwork | str = "lan",
    protocol: str = DEFAULT.name,
    weights: WeightVisibility = "private",
    head: bool = True,
    profile: ProfileName = PartiesSettings.profile,
    phase: Phase = "all",
) -> SessionCost:
    """What one session costs. `secure.models.price` and `secure.models.latency` say what is exact and what predicted.

    Args:
        checkpoint: a folder with config.json, of which no weight is read, or a split one, which knows protocol,
            weights and head itself.
        tokens: of each input, padding included; models of images and captured modules take one length alone.
        new_tokens: that a language model generates; the client alone gets them.
        network: a `secure.models.latency.PartyNetwork`, the name of one, or the path of a file of one.
        profile: as in parties.toml; "auto" is what parties on that network name.
        phase: "online" leaves out what a dealer sends, for those who deal ahead.

    Raises CheckpointError for a model that is not served, InputError for a request that it does not take, and
    ConfigurationError for an unknown network or protocol.
    """
    links = network if isinstance(network, PartyNetwork) else find_network(network)
    manifest = manifest_of_folder(checkpoint, weights=weights, protocol=protocol, head=head)
    request = _request(program.network(manifest), tokens, batch, new_tokens)
    chosen = measured(round_trip_seconds(manifest.protocol, links)) if profile == AUTO else named(profile)
    whole = price(manifest, request, chosen)
    found = whole.of(phase)
    ahead = whole.total.dealer_bytes - found.total.dealer_bytes
    return SessionCost(found, predict(found, links), links, request, manifest.weights, chosen.name, ahead)


def _request(model: Network, tokens: int | None, batch: int, new_tokens: int | None) -> Request:
    due = model.due_tokens
    if due is None and tokens is None:
        raise InputError("say how many tokens an input has: --tokens N, or tokens=N")
    if due is not None and tokens not in (None, due):
        raise InputError(f"{tokens} tokens; every input of this model has {due}")
    if model.manifest.architecture == GRAPH:
        return model.request(model.whole_output, {})  # of the batch that it was captured with
    count = due if due is not None else tokens
    assert count is not None
    if new_tokens is None:
        return Request(model.whole_output, batch, count, masked=False)
    return Request("next_token", batch, count, masked=False, steps=new_tokens)
