"""The trained model that plans are searched for: a classifier of images or of texts, as transformers has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from secure.clear_model import MPC_BERT_TYPE, read_bert, read_raw_config, read_vit
from secure.models.families.bert_config import BertConfig
from secure.models.families.bert_kin import MPC_BERT
from secure.models.families.planned.mpc_vit import MODEL_TYPE, MPC_VIT
from secure.models.families.vit import VitConfig
from secure.protocols.core.errors import CheckpointError, InputError
from secure.search.examples import Examples
from secure.search.space import AttentionPlan, Planned


@dataclass(frozen=True)
class Teacher:
    """A checkpoint's folder, its config.json, and what that says."""

    folder: Path
    raw: dict[str, Any]
    config: Planned

    @property
    def plan(self) -> AttentionPlan:
        """Its own, which is the dearest."""
        return AttentionPlan.of(self.config)

    def model(self) -> PreTrainedModel:
        """Its weights, in a new module with its own plan."""
        return (read_vit if self.of_images else read_bert)(self.folder, self.raw)

    @property
    def of_images(self) -> bool:
        """Whether it classifies images. If not, it is texts."""
        return isinstance(self.config, VitConfig)

    def read_plan(self, plan: AttentionPlan) -> Planned:
        """The configuration of a student. Raises CheckpointError for a plan of other layers, heads or names."""
        raw = plan.in_place_of(self.raw)
        return MPC_VIT.parse(raw) if self.of_images else MPC_BERT.parse(raw)

    def tokens(self, examples: Examples) -> int | None:
        """How many each input has; None of images, of which the model itself says it."""
        return None if self.of_images else examples.inputs.shape[-1]

    def check(self, examples: Examples) -> None:
        """Raises InputError for examples that are not of this model's size, or have other labels."""
        config, found = self.config, tuple(examples.inputs.shape)
        if isinstance(config, VitConfig):
            due = (config.channels, config.image_height, config.image_width)
            if found[1:] != due:
                raise InputError(f"inputs are {found}; this model takes [N, {', '.join(map(str, due))}]")
        elif len(found) != 3 or found[1] != 2 or found[2] > config.max_position_embeddings:
            most = config.max_position_embeddings
            raise InputError(f"inputs are {found}; this model takes ids and masks, [N, 2, T] of at most {most} tokens")
        elif not 0 <= int(examples.inputs[:, 0].min()) <= int(examples.inputs[:, 0].max()) < config.vocab_size:
            raise InputError(f"ids are outside the {config.vocab_size} words of this model")
        low, high = int(examples.labels.min()), int(examples.labels.max())
        if low < 0 or high >= self.config.labels:
            raise InputError(f"labels are {low} to {high}; this model has {self.config.labels}, from 0")


def read_teacher(folder: Path) -> Teacher:
    """Raises CheckpointError for what is no classifier of images or texts that can have a plan."""
    raw = read_raw_config(folder)
    known = {"vit": MPC_VIT, MODEL_TYPE: MPC_VIT, "bert": MPC_BERT, MPC_BERT_TYPE: MPC_BERT}
    if raw.get("model_type") not in known:
        named = ", ".join(map(repr, known))
        raise CheckpointError(f"{folder}: model_type is {raw.get('model_type')!r}; a search is for {named}")
    config = known[raw["model_type"]].parse(raw)
    if not config.labels or (isinstance(config, BertConfig) and config.head != "sequence_tanh"):
        raise CheckpointError(f"{folder} has no classifier of whole inputs, hence no labels to train with")
    return Teacher(folder, raw, config)
