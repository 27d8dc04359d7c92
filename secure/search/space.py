"""Plans: a kind of attention for each head, an activation or none for each layer; and the steps between them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from secure.models.families.mpc_vit import MODEL_TYPE
from secure.models.families.vit import NO_ACTIVATION, VitConfig
from secure.models.layers.mixtures import KINDS, in_order

_OF_ONE_KIND = 0.7
"""How many layers of a random plan have one kind: kinds that share a layer cost about the rounds of the slowest."""


@dataclass(frozen=True)
class AttentionPlan:
    """kinds: of each layer's heads, names of `secure.models.layers.mixtures.KINDS`. activations: of each layer."""

    kinds: tuple[tuple[str, ...], ...]
    activations: tuple[str, ...]

    @classmethod
    def of(cls, config: VitConfig) -> AttentionPlan:
        """The plan that a model has."""
        layers = range(config.layers)
        kinds = tuple(tuple(config.kinds_of_heads(layer)) for layer in layers)
        return cls(kinds, tuple(config.activation_of(layer) for layer in layers))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> AttentionPlan:
        """Inverse of `fields`."""
        return cls(tuple(map(tuple, fields["attention_kinds"])), tuple(fields["activations"]))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a checkpoint's config.json that say it, and whose checkpoint that is."""
        kinds = [list(row) for row in self.kinds]
        return {"model_type": MODEL_TYPE, "attention_kinds": kinds, "activations": list(self.activations)}

    def with_layer(self, layer: int, kinds: tuple[str, ...], activation: str) -> AttentionPlan:
        """The plan with another layer."""
        rows, names = list(self.kinds), list(self.activations)
        rows[layer], names[layer] = kinds, activation
        return AttentionPlan(tuple(rows), tuple(names))

    def layer(self, layer: int) -> tuple[tuple[str, ...], str]:
        """A layer's kinds, in the order in which parties have them, and its activation: what it costs follows."""
        row = self.kinds[layer]
        return tuple(row[head] for head in in_order(row)), self.activations[layer]

    def apply_to(self, config: VitConfig) -> VitConfig:
        """The configuration of a model of this plan."""
        return replace(config, attention_kinds=self.kinds, activations=self.activations)

    def __str__(self) -> str:
        """A word for each layer: softmax, or softmax+2scale where heads differ; a - follows without an activation."""
        words = []
        for row, activation in zip(self.kinds, self.activations, strict=True):
            counts = {kind: row.count(kind) for kind in KINDS if kind in row}
            parts = [kind if len(counts) == 1 or count == 1 else f"{count}{kind}" for kind, count in counts.items()]
            words.append("+".join(parts) + ("-" if activation == NO_ACTIVATION else ""))
        return " ".join(words)


def by_layers(plan: AttentionPlan, first: AttentionPlan) -> Iterator[AttentionPlan]:
    """Every plan that differs in one layer: in the kind of all its heads, or in having its activation.

    first: the teacher's plan, with the activations there are.
    """
    for layer, row in enumerate(plan.kinds):
        activation = plan.activations[layer]
        for kind in KINDS:
            if set(row) != {kind}:
                yield plan.with_layer(layer, (kind,) * len(row), activation)
        yield plan.with_layer(layer, row, first.activations[layer] if activation == NO_ACTIVATION else NO_ACTIVATION)


def random_plan(first: AttentionPlan, draw: random.Random) -> AttentionPlan:
    """Any plan, layers of one kind more often than others."""
    kinds, names = list(KINDS), []
    rows = []
    for row, activation in zip(first.kinds, first.activations, strict=True):
        one = draw.random() < _OF_ONE_KIND
        rows.append((draw.choice(kinds),) * len(row) if one else tuple(draw.choice(kinds) for _ in row))
        names.append(draw.choice([activation, NO_ACTIVATION]))
    return AttentionPlan(tuple(rows), tuple(names))


def mutated(plan: AttentionPlan, first: AttentionPlan, draw: random.Random) -> AttentionPlan:
    """The plan with one layer changed: all of its heads, one of them, or its activation."""
    layer = draw.randrange(len(plan.kinds))
    row, activation, what = list(plan.kinds[layer]), plan.activations[layer], draw.random()
    if what < 1 / 3:
        activation = first.activations[layer] if activation == NO_ACTIVATION else NO_ACTIVATION
    elif what < 2 / 3:
        row = [draw.choice(list(KINDS))] * len(row)
    else:
        row[draw.randrange(len(row))] = draw.choice(list(KINDS))
    return plan.with_layer(layer, tuple(row), activation)
