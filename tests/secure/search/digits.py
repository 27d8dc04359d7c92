"""A small classifier of scikit-learn's digits: 1,797 images of 8 x 8 pixels, ten labels."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification

LAYERS, HEADS = 2, 2


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Images, float [1797, 1, 8, 8], of mean about zero, and labels."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    # Its file, as importing scikit-learn takes longer than the tests do.
    rows = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.int64)
    found = torch.from_numpy(rows)
    return found[:, :64].reshape(-1, 1, 8, 8) / 8 - 0.6, found[:, 64]


def save_teacher(folder: Path, *, steps: int) -> Path:
    """A classifier trained for so many steps on the first 1,500 digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ViTConfig(
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=64,
            num_labels=10,
        )
        model = ViTForImageClassification(config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        images, labels = (part[:1500] for part in digits())
        for _ in range(steps):
            rows = torch.randint(0, len(labels), (128,))
            loss = functional.cross_entropy(model(pixel_values=images[rows]).logits, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.save_pretrained(folder)
    return folder
