"""A sentence model that is trained further, here, to tell texts' classes, and its texts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, BertForSequenceClassification

from bench.data.labelled import SECTIONS, Labelled
from secure.demo.sample import model_folder

CACHE = Path(__file__).parents[1] / "out" / "accuracy"
"""Where trained classifiers are; git ignores it."""
TOKENS = 32
"""More of a text are cut off."""
_BATCH = 32
_RATE = 1e-4
_WARM_UP = 20
# Moves when the code below trains otherwise: older classifiers are then not taken.
_TRAINING = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """Texts with the numbers of their classes: those to train on, and those to test with, which do not mix."""

    train: Sequence[str]
    train_labels: Tensor
    test: Sequence[str]
    test_labels: Tensor
    source: str
    digest: str

    @classmethod
    def of(cls, data: Labelled, train: int, test: int, seed: int) -> Task:
        """Parts of the data, drawn by the seed. Raises ValueError where it has fewer texts than are asked for."""
        assert not isinstance(data.inputs, Tensor)
        if train + test > len(data.inputs):
            raise ValueError(f"{len(data.inputs)} texts, {train + test} are asked for")
        order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(seed))
        first, second = order[:train], order[train : train + test]
        texts = [[data.inputs[number] for number in part.tolist()] for part in (first, second)]
        return cls(texts[0], data.labels[first], texts[1], data.labels[second], data.source, data.digest)


def tokens(tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """input_ids and attention_mask, int64 [len(texts), T], T at most `TOKENS`, padded at the end."""
    found = tokenizer(list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def trained(task: Task, epochs: int, seed: int, say: Say) -> Path:
    """The checkpoint folder of a classifier, with its tokenizer: from the cache, or trained now, minutes.

    It is transformers' BertForSequenceClassification, from the sentence model's weights and a new head. Raises
    ConfigurationError where the sentence model's package is not installed.
    """
    key = f"{_TRAINING} {task.digest} {len(task.train)} {epochs} {seed} {torch.__version__}"
    folder = CACHE / hashlib.sha256(key.encode()).hexdigest()[:12]
    if folder.is_dir():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification.from_pretrained(
            model_folder(), num_labels=len(SECTIONS), id2label=dict(enumerate(SECTIONS)), dtype=torch.float32
        )
        _train(model, tokenizer, task, epochs, say)
    written = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(written, ignore_errors=True)
    model.save_pretrained(written)
    tokenizer.save_pretrained(written)
    written.rename(folder)
    return folder


def _train(model: Any, tokenizer: Any, task: Task, epochs: int, say: Say) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE)
    steps = epochs * (len(task.train) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / _WARM_UP, max(0.0, (steps - step) / max(1, steps - _WARM_UP)))
    )
    model.train()
    for epoch in range(epochs):
        total = 0.0
        rows = torch.randperm(len(task.train)).split(_BATCH)[: len(task.train) // _BATCH]
        for number, part in enumerate(rows, 1):
            logits = model(**tokens(tokenizer, [task.train[row] for row in part.tolist()])).logits
            loss = functional.cross_entropy(logits, task.train_labels[part])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            if number % 25 == 0:
                say(
                    f"training: epoch {epoch + 1} of {epochs}, {number} of {len(rows)} steps, loss {total / number:.3f}"
                )
    model.eval()
