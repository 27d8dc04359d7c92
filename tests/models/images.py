"""Tiny random models of images, as transformers makes and saves them, and what they compute in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification, ViTForMaskedImageModeling, ViTModel

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "image_size": 8,
    "patch_size": 4,
    "encoder_stride": 4,
    "initializer_range": 0.1,  # logits of about one; at transformers' default of 0.02 they would hardly differ
}
HEADS: dict[str, Any] = {
    "classifier": ViTForImageClassification,
    "masked": ViTForMaskedImageModeling,
    "none": ViTModel,
}


def save_vit(folder: Path, head: str = "classifier", *, arguments: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A model ready to evaluate, saved. `changes` to its configuration, `arguments` of its class."""
    torch.manual_seed(0)
    model = HEADS[head](ViTConfig(**(SIZES | changes)), **(arguments or {})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms of a fresh model are all zeros and ones: a swapped pair would go unnoticed.
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def pixels(batch: int, model: Any, seed: int = 4) -> Tensor:
    """Normalised images of a model's size."""
    size = model.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, model.config.num_channels, height, width, generator=generator)


def plain(model: Any, pixel_values: Tensor) -> dict[str, Tensor]:
    """The model's outputs in the clear, without those that are None."""
    with torch.no_grad():
        return {name: value for name, value in model(pixel_values=pixel_values).items() if value is not None}
