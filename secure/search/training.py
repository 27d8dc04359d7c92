"""One loop of training for both: the network of all plans, and a student of one plan. It can be stopped and resumed.

The loss is that of MPCViT: cross entropy with the labels, the divergence from the teacher's answers, and the mean
square of what lies between both models' last hidden states. AdamW, whose rate warms up and then falls as a cosine.

After every epoch, weights and the optimiser's state are in a safetensors file. An epoch's order, its augmentation, its
plans and dropout follow from seed and number of the epoch alone, so a run that was stopped ends as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from secure.protocols.core.errors import CheckpointError
from secure.search.examples import Augment, Examples, draw_of

Say = Callable[[str], None]
Prepare = Callable[[random.Random], None]
"""Called before each batch, with what it may draw from."""
_LEAST_RATE = 0.01
_WARM_UP = 0.05
_EPOCHS_APART = 1 << 20
"""Seeds of epochs are so far apart as to leave room for each other."""


@dataclass(frozen=True)
class Schedule:
    """epochs: how often all examples are seen. rate: the largest learning rate."""

    epochs: int
    batch: int = 128
    rate: float = 7e-4
    decay: float = 0.05
    seed: int = 0

    def factor(self, step: int, steps: int) -> float:
        """The part of the rate at a step."""
        warm = max(1, round(_WARM_UP * steps))
        if step < warm:
            return (step + 1) / warm
        return _LEAST_RATE + (1 - _LEAST_RATE) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def fit(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    examples: Examples,
    schedule: Schedule,
    state: Path,
    say: Say,
    *,
    prepare: Prepare | None = None,
    augment: Augment | None = None,
) -> None:
    """Train a model to answer as its teacher. state: where it is kept after each epoch, and resumed from.

    Raises CheckpointError where what is kept there is of another schedule, teacher or other examples.
    """
    size = min(schedule.batch, len(examples))
    by_epoch = len(examples) // size
    steps = by_epoch * schedule.epochs
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    about = {"schedule": json.dumps(asdict(schedule)), "of": _digest(teacher, examples)}
    done = _resume(model, optimiser, about, state)
    if done:
        say(f"resumed after epoch {done} of {schedule.epochs}")
    for epoch in range(done, schedule.epochs):
        draw, seed = draw_of(schedule.seed, epoch), schedule.seed * _EPOCHS_APART + epoch
        total = 0.0
        model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for number, batch in enumerate(examples.batches(size, seed, augment)):
                for group in optimiser.param_groups:
                    group["lr"] = schedule.rate * schedule.factor(epoch * by_epoch + number, steps)
                if prepare is not None:
                    prepare(draw)
                loss = _loss(model, teacher, batch)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                total += float(loss.detach())
        _keep(model, optimiser, about | {"epochs": str(epoch + 1)}, state)
        say(f"epoch {epoch + 1} of {schedule.epochs}: loss {total / by_epoch:.4f}")
    model.train(False)


def _loss(model: PreTrainedModel, teacher: PreTrainedModel, batch: Examples) -> Tensor:
    found = model(**arguments(model, batch.inputs), output_hidden_states=True)
    with torch.no_grad():
        due = teacher(**arguments(model, batch.inputs), output_hidden_states=True)
    divergence = functional.kl_div(
        found.logits.log_softmax(-1), due.logits.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    hidden = functional.mse_loss(found.hidden_states[-1], due.hidden_states[-1])
    return functional.cross_entropy(found.logits, batch.labels) + divergence + hidden


def arguments(model: PreTrainedModel, inputs: Tensor) -> dict[str, Tensor]:
    """What transformers calls inputs. Shapes: images [N, C, H, W], or ids and masks of texts [N, 2, T]."""
    if model.main_input_name != "input_ids":
        return {"pixel_values": inputs}
    ids, mask = inputs.unbind(1)
    return {"input_ids": ids, "attention_mask": mask}


def answers(model: PreTrainedModel, inputs: Tensor, size: int = 500) -> Tensor:
    """A model's logits, some inputs at a time. Shapes: [N, ...] -> [N, labels]."""
    model.train(False)
    with torch.inference_mode():
        return torch.cat([model(**arguments(model, part)).logits for part in inputs.split(size)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of rows that are largest at their label."""
    return float((logits.argmax(-1) == labels).double().mean())


def _keep(model: PreTrainedModel, optimiser: torch.optim.Optimizer, about: dict[str, str], state: Path) -> None:
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
    for number, of_parameter in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value.contiguous() for name, value in of_parameter.items()}
    state.parent.mkdir(parents=True, exist_ok=True)
    written = state.with_suffix(".writing")
    save_file(tensors, written, about)
    os.replace(written, state)


def _digest(teacher: PreTrainedModel, examples: Examples) -> str:
    """SHA-256 of a teacher's weights and of examples."""
    found = hashlib.sha256()
    for tensor in (*teacher.state_dict().values(), examples.inputs, examples.labels):
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _resume(model: PreTrainedModel, optimiser: torch.optim.Optimizer, about: dict[str, str], state: Path) -> int:
    """How many epochs are done already, whose end the model and the optimiser are put to."""
    if not state.is_file():
        return 0
    try:
        with safe_open(state, "pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if said["schedule"] != about["schedule"]:
            raise CheckpointError(
                f"{state} is of another schedule, {said['schedule']}; choose another folder, or remove it"
            )
        if said["of"] != about["of"]:
            raise CheckpointError(
                f"{state} is of another teacher, or of other data; choose another folder, or remove it"
            )
        own = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        model.load_state_dict(own)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{state} cannot be resumed from: {type(error).__name__}; choose another folder, or remove it"
        ) from None
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, what = name.split(".", 2)
            found.setdefault(int(number), {})[what] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": found})
    return int(said["epochs"])
