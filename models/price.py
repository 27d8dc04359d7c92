"""What a model costs, by layer, from its shapes alone: rounds, bytes, and numbers that a party multiplies.

The model's own program runs on tensors without numbers, in the family's outline, where every gate declares its cost.
Nothing is read of the weights, expanded, dealt or sent. Rounds and bytes are those of a run, exactly. What a client
ends early costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Literal

import torch

from secure.models import program
from secure.models.contract.exchange import due_outputs
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.protocols.core.cost import Cost, CostTally
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Protocol
from secure.protocols.families import family
from secure.protocols.masked.outline import keep_nothing

Phase = Literal["all", "online"]
Outline = Callable[[FixedPointPolicy, CostTally], Protocol]


@dataclass(frozen=True)
class Amount:
    """Rounds; bytes that the computing parties send to each other, all of them together; bytes that a dealer sends;
    numbers that each party multiplies in products of matrices."""

    rounds: int = 0
    online_bytes: int = 0
    dealer_bytes: int = 0
    multiplications: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.rounds + other.rounds,
            self.online_bytes + other.online_bytes,
            self.dealer_bytes + other.dealer_bytes,
            self.multiplications + other.multiplications,
        )


@dataclass(frozen=True)
class Price:
    """What one session costs, all its steps together, and before it, once, loading the model.

    layers: by the model's names, in the order in which they begin. sent_bytes, answer_bytes: what a client sends to the
    parties and gets from them, all together.
    """

    protocol: str
    layers: Mapping[str, Amount]
    loading: Amount
    sent_bytes: int
    answer_bytes: int

    @property
    def total(self) -> Amount:
        """All layers of a session."""
        return total(self.layers)

    def of(self, phase: Phase) -> Price:
        """All of it; or online: what is left of a session whose dealer sent everything ahead.

        Where there is no dealer, all is online.
        """
        if phase == "all":
            return self
        return replace(self, layers={name: replace(each, dealer_bytes=0) for name, each in self.layers.items()})


def total(layers: Mapping[str, Amount]) -> Amount:
    """The sum of all layers."""
    return reduce(add, layers.values(), Amount())


def price(manifest: Manifest, request: Request, profile: Profile = NEAR) -> Price:
    """The price of a request, by the gates that the profile chooses.

    Of a family with two engines it is that of the first one that serves the model. Raises InputError for a request that
    the model does not take, CheckpointError for a manifest of no model, and ConfigurationError, which names an
    operation, for one that the family does not serve.
    """
    net, of_family = program.network(manifest), family(manifest.protocol)
    net.validate(request)
    try:
        loading, session = _walked(of_family.outline, manifest, request, profile)
    except ConfigurationError:
        if of_family.other_outline is None:
            raise
        loading, session = _walked(of_family.other_outline, manifest, request, profile)
    sent, answered = 0, 0
    for step in range(request.steps):
        sent += sum(of_family.sent_bytes(net.input_specs(request, step)))
        answered += sum(of_family.answer_bytes(due_outputs(net, request, step)))
    return Price(manifest.protocol, _by_layer(manifest, session), total(_by_layer(manifest, loading)), sent, answered)


def _walked(outline_of: Outline, manifest: Manifest, request: Request, profile: Profile) -> tuple[CostTally, CostTally]:
    """What loading costs, and a session."""
    loading, session = CostTally(), CostTally()
    with torch.inference_mode():
        load = outline_of(manifest.policy, loading)
        model = program.load(load, manifest, None, keep_nothing)
        load.finish()
        outline = outline_of(manifest.policy, session)
        outline.profile = profile
        program.serve(outline, model, request, program.Nobody(), None)
    return loading, session


def _by_layer(manifest: Manifest, tally: CostTally) -> dict[str, Amount]:
    declared: dict[str, Cost] = {}
    for (layer, _), row in tally.rows.items():
        declared[layer] = declared.get(layer, Cost()) + row.declared
    dealt = "dealer" in family(manifest.protocol).roles
    return {
        layer: Amount(
            cost.rounds,
            # Where there is no dealer, what is dealt comes from one of the three.
            cost.both_bytes + (0 if dealt else cost.dealer_bytes),
            cost.dealer_bytes if dealt else 0,
            tally.multiplications[layer],
        )
        for layer, cost in declared.items()
    }
