"""What plans of one model cost on one network: exactly, by their own price, and at once, as a sum over layers."""

from __future__ import annotations

from typing import Any

from secure.models.checkpoint.shapes import manifest_of_config
from secure.models.contract.manifest import WeightVisibility
from secure.models.contract.request import Request
from secure.models.latency import PartyNetwork, predict
from secure.models.price import Phase, Price, price
from secure.models.program import network as model_of
from secure.search.space import AttentionPlan, Norms

Layer = tuple[tuple[str, ...], str, Norms]


class PlanCosts:
    """raw: config.json of the model. batch: inputs of one session. phase: as for `Price.of`. tokens: of each input,
    where the model takes any number.

    A search asks for thousands of plans. What a layer costs depends on itself and on where it is, so the seconds of a
    plan are those of the first one and, for each layer that differs, what that changes by itself. Tests hold it against
    `exact`, of which every plan that is written down has its figures.
    """

    def __init__(
        self,
        raw: dict[str, Any],
        first: AttentionPlan,
        network: PartyNetwork,
        protocol: str,
        weights: WeightVisibility,
        batch: int = 1,
        phase: Phase = "all",
        tokens: int | None = None,
    ) -> None:
        self.network, self.protocol, self.weights = network, protocol, weights
        self._raw, self._first, self._batch, self._phase, self._tokens = raw, first, batch, phase, tokens
        self._first_seconds = self._seconds(self.exact(first))
        self._saved: dict[tuple[int, Layer], float] = {}

    def exact(self, plan: AttentionPlan) -> Price:
        """The price of a session with a plan."""
        manifest = manifest_of_config(plan.in_place_of(self._raw), weights=self.weights, protocol=self.protocol)
        net = model_of(manifest)
        tokens = self._tokens or net.due_tokens
        assert tokens is not None
        return price(manifest, Request(net.whole_output, self._batch, tokens, masked=False)).of(self._phase)

    def exact_seconds(self, plan: AttentionPlan) -> float:
        """Predicted, from the plan's own price."""
        return self._seconds(self.exact(plan))

    def seconds(self, plan: AttentionPlan) -> float:
        """A plan's seconds as a sum over layers."""
        return self._first_seconds - sum(self._saves(plan, layer) for layer in range(len(plan.kinds)))

    def relative(self, plan: AttentionPlan) -> float:
        """Seconds of a plan over those of the first one, each from its own price."""
        return self.exact_seconds(plan) / self._first_seconds

    def _saves(self, plan: AttentionPlan, layer: int) -> float:
        found = plan.layer(layer)
        if found == self._first.layer(layer):
            return 0.0
        key = layer, found
        if key not in self._saved:
            alone = self._first.with_layer(layer, *found)
            self._saved[key] = self._first_seconds - self.exact_seconds(alone)
        return self._saved[key]

    def _seconds(self, found: Price) -> float:
        return predict(found, self.network).total
