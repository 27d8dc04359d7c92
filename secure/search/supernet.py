"""One network whose weights serve every plan, and how far its answers with a plan are from the teacher's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from secure.clear_model import apply_plan
from secure.models.checkpoint.folder import file_digest
from secure.protocols.core.errors import CheckpointError
from secure.search.examples import Augment, Examples
from secure.search.norms import calibrate
from secure.search.space import AttentionPlan, Planned, random_plan
from secure.search.training import Say, Schedule, accuracy, answers, fit

SUPERNET_NAME = "supernet.safetensors"
ANSWERS_NAME = "tried.json"


def train(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    config: Planned,
    examples: Examples,
    schedule: Schedule,
    folder: Path,
    say: Say,
    augment: Augment | None = None,
) -> None:
    """Train it from the teacher's weights: every batch another random plan. config: the teacher's."""
    first = AttentionPlan.of(config)
    calibrate(model, examples.inputs)
    fit(
        model,
        teacher,
        examples,
        schedule,
        folder / SUPERNET_NAME,
        say,
        prepare=lambda draw: apply_plan(model, random_plan(first, draw).apply_to(config)),
        augment=augment,
    )


class Answers:
    """The network's answers with any plan, compared with the teacher's on held-out inputs; each plan is tried once.

    What was found is in a file, so that a search for another network or budget does not try it again. The file says of
    which weights it is; for other ones it begins anew.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        teacher: PreTrainedModel,
        config: Planned,
        held_out: Examples,
        folder: Path,
    ) -> None:
        """Raises CheckpointError where the file of what was found cannot be read."""
        self._model, self._config, self._held_out, self._path = model, config, held_out, folder / ANSWERS_NAME
        self._due = answers(teacher, held_out.inputs).log_softmax(-1)
        self._of = file_digest(folder / SUPERNET_NAME)
        self._found: dict[str, tuple[float, float]] = {}
        if self._path.is_file():
            try:
                kept = json.loads(self._path.read_text(encoding="utf-8"))
                if kept["of"] == self._of:
                    self._found = {key: (float(first), float(second)) for key, (first, second) in kept["plans"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{self._path} cannot be read: {type(error).__name__}; remove it") from None

    def divergence(self, plan: AttentionPlan) -> float:
        """Mean divergence of the teacher's answers from the network's, in nats."""
        return self._figures(plan)[0]

    def accuracy(self, plan: AttentionPlan) -> float:
        """The share of held-out inputs whose label the network gives."""
        return self._figures(plan)[1]

    def keep(self) -> None:
        """Write what was found."""
        written = self._path.with_suffix(".writing")
        written.write_text(json.dumps({"of": self._of, "plans": self._found}) + "\n", encoding="utf-8")
        os.replace(written, self._path)

    def _figures(self, plan: AttentionPlan) -> tuple[float, float]:
        key = json.dumps([plan.kinds, plan.activations, plan.norms])
        if key not in self._found:
            apply_plan(self._model, plan.apply_to(self._config))
            logits = answers(self._model, self._held_out.inputs)
            with torch.inference_mode():
                found = functional.kl_div(logits.log_softmax(-1), self._due, log_target=True, reduction="batchmean")
            self._found[key] = float(found), accuracy(logits, self._held_out.labels)
        return self._found[key]
