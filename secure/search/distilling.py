"""A student: the teacher's weights, another plan, trained to answer as the teacher does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from secure.clear_model import apply_plan
from secure.models.checkpoint.folder import CONFIG_NAME
from secure.search.data import read_data
from secure.search.examples import Augment
from secure.search.norms import absorb_scales, calibrate
from secure.search.space import AttentionPlan
from secure.search.teacher import read_teacher
from secure.search.training import Say, Schedule, accuracy, answers, fit
from secure.split import check_empty
from secure.tokens import TOKENIZER_FILES

EPOCHS = 20
_COPIED = ("preprocessor_config.json", *TOKENIZER_FILES)


def distil(
    checkpoint: Path | str,
    plan: AttentionPlan,
    data: Any,
    *,
    out: Path | str,
    epochs: int = EPOCHS,
    batch: int = 128,
    rate: float = 5e-4,
    seed: int = 0,
    augment: Augment | None = None,
    say: Say = print,
) -> float:
    """Train a model of a plan and write it as a checkpoint that `secure split` and `PrivateModel` read.

    While it trains, OUT.training.safetensors lies beside the folder, and a call that was stopped goes on from there.

    Args:
        checkpoint, data, augment: as for `search`; a tenth of the examples is held out.
        plan: of `Front.within`, or any other one of the model's layers and heads.
        out: a new folder.

    Returns the share of held-out examples whose label the student gives; it says the teacher's, too.
    Raises CheckpointError and InputError as `search`, and for a folder that is not empty.
    """
    folder, teacher = Path(out), read_teacher(Path(checkpoint))
    examples = read_data(data, teacher)
    check_empty(folder)
    teacher.check(examples)
    config = teacher.read_plan(plan)
    trained, held_out = examples.held_out(seed)
    due, model = teacher.model(), teacher.model()
    calibrate(model, trained.inputs)
    apply_plan(model, config)
    absorb_scales(model)
    state = folder.with_name(f"{folder.name}.training.safetensors")
    fit(model, due, trained, Schedule(epochs, batch, rate, seed=seed), state, say, augment=augment)
    found, before = (accuracy(answers(each, held_out.inputs), held_out.labels) for each in (model, due))
    with torch.inference_mode():
        model.save_pretrained(folder)
    path = folder / CONFIG_NAME
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(plan.in_place_of(raw), indent=2) + "\n", encoding="utf-8")
    for name in _COPIED:
        if (teacher.folder / name).is_file():
            shutil.copyfile(teacher.folder / name, folder / name)
    state.unlink(missing_ok=True)
    say(f"{found:.2%} of {len(held_out)} held-out labels; the teacher has {before:.2%}")
    return found
