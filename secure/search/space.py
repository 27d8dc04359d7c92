"""Plans: kinds of attention by head, an activation or none and two norms by layer; and the steps between them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from secure.models.families.bert_config import BertConfig
from secure.models.families.planned.mpc_vit import MODEL_TYPE
from secure.models.families.vit import VitConfig
from secure.models.layers.mixtures import KINDS, in_order
from secure.models.layers.plan import NO_ACTIVATION, NORMS

LAYER, AFFINE = NORMS
Norms = tuple[str, str]
Planned = VitConfig | BertConfig
"""What a model with a plan is configured by."""
_OF_ONE_KIND = 0.7
"""How many layers of a random plan have one kind: kinds that share a layer cost about the rounds of the slowest."""
_WITH_AFFINE = 0.5
"""How many random plans may have affine norms: nothing bounds what passes many of them while weights are untrained."""


@dataclass(frozen=True)
class AttentionPlan:
    """kinds: of each layer's heads, names of `secure.models.layers.mixtures.KINDS`. activations: of each layer.

    norms: of each layer, before attention and before the feed-forward layer; by default, layer norms.
    """

    kinds: tuple[tuple[str, ...], ...]
    activations: tuple[str, ...]
    norms: tuple[Norms, ...] = ()

    def __post_init__(self) -> None:
        if not self.norms:
            object.__setattr__(self, "norms", ((LAYER, LAYER),) * len(self.kinds))

    @classmethod
    def of(cls, config: Planned) -> AttentionPlan:
        """The plan that a model has."""
        layers = range(config.layers)
        kinds = tuple(tuple(config.kinds_of_heads(layer)) for layer in layers)
        norms = tuple((before, after) for before, after in map(config.norms_of, layers))
        return cls(kinds, tuple(config.activation_of(layer) for layer in layers), norms)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> AttentionPlan:
        """Inverse of `fields`."""
        norms = tuple((before, after) for before, after in fields.get("norms", ()))
        return cls(tuple(map(tuple, fields["attention_kinds"])), tuple(fields["activations"]), norms)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a ViT's config.json that say it, and whose checkpoint that is."""
        kinds = [list(row) for row in self.kinds]
        return {
            "model_type": MODEL_TYPE,
            "attention_kinds": kinds,
            "activations": list(self.activations),
            "norms": [list(row) for row in self.norms],
        }

    def in_place_of(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """config.json of a model of this plan. raw: that of the same model with another one, or with none."""
        family = str(raw["model_type"]).removeprefix("mpc_")
        return {**raw, **self.fields, "model_type": f"mpc_{family}"}

    def with_layer(
        self, layer: int, kinds: tuple[str, ...], activation: str, norms: Norms | None = None
    ) -> AttentionPlan:
        """The plan with another layer. norms: as they are, by default."""
        rows, names, pairs = list(self.kinds), list(self.activations), list(self.norms)
        rows[layer], names[layer] = kinds, activation
        pairs[layer] = pairs[layer] if norms is None else norms
        return AttentionPlan(tuple(rows), tuple(names), tuple(pairs))

    def with_norm(self, layer: int, place: int, norm: str) -> AttentionPlan:
        """The plan with another norm. place: 0 before attention, 1 before the feed-forward layer."""
        before, after = self.norms[layer]
        pair = (norm, after) if place == 0 else (before, norm)
        return self.with_layer(layer, self.kinds[layer], self.activations[layer], pair)

    def layer(self, layer: int) -> tuple[tuple[str, ...], str, Norms]:
        """A layer's kinds, in the order in which parties have them, its activation and norms: what it costs follows."""
        row = self.kinds[layer]
        return tuple(row[head] for head in in_order(row)), self.activations[layer], self.norms[layer]

    def apply_to(self, config: Planned) -> Planned:
        """The configuration of a model of this plan."""
        return replace(config, attention_kinds=self.kinds, activations=self.activations, norms=self.norms)

    def __str__(self) -> str:
        """A word for each layer: softmax, or softmax+2scale where heads differ.

        A - follows without an activation, /a where both norms are affine, /a1 or /a2 where one of them is.
        """
        words = []
        for row, activation, norms in zip(self.kinds, self.activations, self.norms, strict=True):
            counts = {kind: row.count(kind) for kind in KINDS if kind in row}
            parts = [kind if len(counts) == 1 or count == 1 else f"{count}{kind}" for kind, count in counts.items()]
            words.append("+".join(parts) + ("-" if activation == NO_ACTIVATION else "") + _MARKS[norms])
        return " ".join(words)


_MARKS: Mapping[tuple[str, str], str] = {
    (LAYER, LAYER): "",
    (AFFINE, LAYER): "/a1",
    (LAYER, AFFINE): "/a2",
    (AFFINE, AFFINE): "/a",
}


def by_layers(plan: AttentionPlan, first: AttentionPlan) -> Iterator[AttentionPlan]:
    """Every plan that differs in one layer: in the kind of all its heads, in having its activation, or in one norm.

    first: the teacher's plan, with the activations there are. A norm that is affine there has nothing else to be.
    """
    for layer, row in enumerate(plan.kinds):
        activation = plan.activations[layer]
        for kind in KINDS:
            if set(row) != {kind}:
                yield plan.with_layer(layer, (kind,) * len(row), activation)
        yield plan.with_layer(layer, row, first.activations[layer] if activation == NO_ACTIVATION else NO_ACTIVATION)
        for place, norm in enumerate(plan.norms[layer]):
            if first.norms[layer][place] == LAYER:
                yield plan.with_norm(layer, place, AFFINE if norm == LAYER else LAYER)


def random_plan(first: AttentionPlan, draw: random.Random) -> AttentionPlan:
    """Any plan, layers of one kind more often than others, and one of two with layer norms alone."""
    kinds, names = list(KINDS), []
    rows = []
    affine = [AFFINE] if draw.random() < _WITH_AFFINE else []
    norms: list[Norms] = []
    for row, activation in zip(first.kinds, first.activations, strict=True):
        one = draw.random() < _OF_ONE_KIND
        rows.append((draw.choice(kinds),) * len(row) if one else tuple(draw.choice(kinds) for _ in row))
        names.append(draw.choice([activation, NO_ACTIVATION]))
    for before, after in first.norms:
        norms.append((draw.choice([before, *affine]), draw.choice([after, *affine])))
    return AttentionPlan(tuple(rows), tuple(names), tuple(norms))


def mutated(plan: AttentionPlan, first: AttentionPlan, draw: random.Random) -> AttentionPlan:
    """The plan with one layer changed: all of its heads, one of them, its activation, or a norm."""
    layer = draw.randrange(len(plan.kinds))
    row, activation, what = list(plan.kinds[layer]), plan.activations[layer], draw.random()
    if what < 1 / 4:
        place = draw.randrange(2)
        other = AFFINE if plan.norms[layer][place] == LAYER else first.norms[layer][place]
        return plan.with_norm(layer, place, other)
    if what < 2 / 4:
        activation = first.activations[layer] if activation == NO_ACTIVATION else NO_ACTIVATION
    elif what < 3 / 4:
        row = [draw.choice(list(KINDS))] * len(row)
    else:
        row[draw.randrange(len(row))] = draw.choice(list(KINDS))
    return plan.with_layer(layer, tuple(row), activation)
