"""Tiny random models of every family with every head, as transformers makes and saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 20,
}
SPREAD = 0.1  # of weights: logits of about one; at transformers' default of 0.02 they would hardly differ
DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}
FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert")
HEADS: dict[str, Any] = {
    "none": AutoModel,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
    "masked_lm": AutoModelForMaskedLM,
}


def save_model(folder: Path, family: str, head: str, *, arguments: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A model ready to evaluate, saved. `changes` to its configuration, `arguments` of its class."""
    torch.manual_seed(0)
    sizes = SIZES | {"initializer_range": SPREAD} | changes
    if family == "distilbert":
        sizes = {DISTILBERT_NAMES.get(name, name): value for name, value in sizes.items()}
    model = HEADS[head].from_config(AutoConfig.for_model(family, **sizes), **(arguments or {})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms of a fresh model are all zeros and ones: a swapped pair would go unnoticed.
            if name.endswith("bias") or "norm" in name.lower():
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model
