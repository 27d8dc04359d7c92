"""Tiny random models of the LLaMA kin, as transformers makes and saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 40,
    "initializer_range": 0.12,  # logits of about one, as SPREAD of tests.models.kin
    "sliding_window": None,
}


def settings(family: str, **changes: Any) -> dict[str, Any]:
    """Arguments of the family's configuration."""
    sizes = {name: value for name, value in SIZES.items() if family == "mistral" or name != "sliding_window"}
    return sizes | changes


def save_decoder(folder: Path, family: str, *, head: bool = True, seed: int = 0, **changes: Any) -> Any:
    """A model ready to evaluate, saved. `changes` to its configuration."""
    torch.manual_seed(seed)
    kind = AutoModelForCausalLM if head else AutoModel
    model = kind.from_config(AutoConfig.for_model(family, **settings(family, **changes))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms of a fresh model are all zeros and ones: a swapped pair would go unnoticed.
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def padded_prompts(batch: int, tokens: int, seed: int = 4) -> tuple[Tensor, Tensor]:
    """Ids, and a mask by which row r begins with r tokens of padding."""
    ids = torch.randint(SIZES["vocab_size"], (batch, tokens), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    for row in range(1, batch):
        mask[row, :row] = 0
    return ids, mask


def places(mask: Tensor) -> Tensor:
    """position_ids as transformers counts them when it generates: padding counts for nothing."""
    return (mask.cumsum(1) - 1).clamp(min=0)
