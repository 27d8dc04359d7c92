"""The trained model that plans are searched for: a classifier of images, as transformers has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from secure.clear_model import read_raw_config, read_vit
from secure.models.families.mpc_vit import MODEL_TYPE, MPC_VIT
from secure.models.families.vit import VitConfig
from secure.protocols.core.errors import CheckpointError, InputError
from secure.search.examples import Examples
from secure.search.space import AttentionPlan


@dataclass(frozen=True)
class Teacher:
    """A checkpoint's folder, its config.json, and what that says."""

    folder: Path
    raw: dict[str, Any]
    config: VitConfig

    @property
    def plan(self) -> AttentionPlan:
        """Its own, which is the dearest."""
        return AttentionPlan.of(self.config)

    def model(self) -> PreTrainedModel:
        """Its weights, in a new module with its own plan."""
        return read_vit(self.folder, self.raw)

    def read_plan(self, plan: AttentionPlan) -> VitConfig:
        """The configuration of a student. Raises CheckpointError for a plan of other layers, heads or names."""
        return MPC_VIT.parse(self.raw | plan.fields)

    def check(self, examples: Examples) -> None:
        """Raises InputError for examples that are not of this model's size, or have other labels."""
        due = (self.config.channels, self.config.image_height, self.config.image_width)
        if tuple(examples.inputs.shape[1:]) != due:
            raise InputError(
                f"inputs are {tuple(examples.inputs.shape)}; this model takes [N, {', '.join(map(str, due))}]"
            )
        low, high = int(examples.labels.min()), int(examples.labels.max())
        if low < 0 or high >= self.config.labels:
            raise InputError(f"labels are {low} to {high}; this model has {self.config.labels}, from 0")


def read_teacher(folder: Path) -> Teacher:
    """Raises CheckpointError for what is no classifier of images that we serve."""
    raw = read_raw_config(folder)
    if raw.get("model_type") not in ("vit", MODEL_TYPE):
        raise CheckpointError(
            f"{folder}: model_type is {raw.get('model_type')!r}; a search is for 'vit' and {MODEL_TYPE!r}"
        )
    config = MPC_VIT.parse(raw)
    if not config.labels:
        raise CheckpointError(f"{folder} has no classifier, hence no labels to train with")
    return Teacher(folder, raw, config)
