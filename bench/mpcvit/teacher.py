"""A small ViT with softmax everywhere, trained on Fashion-MNIST without a teacher of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification

from bench.data.fashion_mnist import LABELS, SIZE, Part, augmented
from secure.protocols.core.errors import ConfigurationError
from secure.search.examples import Examples
from secure.search.training import Schedule, accuracy, answers

PATCHES = {17: 7, 50: 4}
"""Side of a patch in pixels, by tokens of an image."""
TRAINED_NAME = "teacher.json"
"""Beside the checkpoint: tokens, epochs, seed, seconds of a processor, and the share of the tests' labels it gives."""
_SMOOTHING = 0.1
_RATE = 1e-3


def config_of(tokens: int) -> ViTConfig:
    """4 layers of width 64 with 4 heads. Raises ConfigurationError for another number of tokens than there are."""
    if tokens not in PATCHES:
        raise ConfigurationError(f"{tokens} tokens; an image of {SIZE} pixels has {' or '.join(map(str, PATCHES))}")
    return ViTConfig(
        image_size=SIZE,
        patch_size=PATCHES[tokens],
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )


def train_teacher(
    train: Part,
    tests: Part,
    folder: Path,
    *,
    tokens: int,
    epochs: int,
    seed: int,
    say: Callable[[str], None],
    batch: int = 128,
) -> float:
    """Train and save one, with what was done in teacher.json. Returns the share of the tests whose label it gives."""
    began = time.process_time()
    config, schedule = config_of(tokens), Schedule(epochs, batch, _RATE, seed=seed)
    examples = Examples(train.images, train.labels)
    steps_by_epoch = len(examples) // min(batch, len(examples))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTForImageClassification(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=schedule.decay)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for number, given in enumerate(examples.batches(batch, seed * epochs + epoch, augmented)):
            step = epoch * steps_by_epoch + number
            for group in optimiser.param_groups:
                group["lr"] = _RATE * schedule.factor(step, steps_by_epoch * epochs)
            logits = model(pixel_values=given.inputs).logits
            loss = functional.cross_entropy(logits, given.labels, label_smoothing=_SMOOTHING)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total += float(loss.detach())
        say(f"epoch {epoch + 1} of {epochs}: loss {total / steps_by_epoch:.4f}")
    share = accuracy(answers(model, tests.images), tests.labels)
    model.save_pretrained(folder)
    about = {
        "tokens": tokens,
        "epochs": epochs,
        "seed": seed,
        "seconds": time.process_time() - began,
        "accuracy": share,
    }
    (folder / TRAINED_NAME).write_text(json.dumps(about) + "\n", encoding="utf-8")
    return share
