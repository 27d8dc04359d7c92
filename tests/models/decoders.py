"""Tiny random decoders as transformers makes and saves them, and what they compute in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

_LLAMA: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 40,
}
LLAMA_KIN: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA | {"sliding_window": None},
    "qwen2": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 8},
}
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 61, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 20},
    **LLAMA_KIN,
}
ROPE_PARAMETERS = hasattr(AutoConfig.for_model("llama"), "rope_parameters")
"""Whether transformers has one field for rotary positions, as from version 5 on, or rope_theta and rope_scaling."""
WINDOWS_BY_LAYER = hasattr(AutoConfig.for_model("qwen2"), "layer_types")
"""Whether transformers' windows are of some layers. Until 4.52 its masks on a CPU had them in all or none."""
SPREAD = 0.2  # of weights: logits of about three; at transformers' default of 0.02 they would hardly differ


def save_decoder(
    folder: Path, family: str, *, head: bool = True, spread: float = SPREAD, seed: int = 0, **changes: Any
) -> Any:
    """A model ready to evaluate, saved. `changes` to its configuration."""
    torch.manual_seed(seed)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    changes = changes if ROPE_PARAMETERS else _of_the_fourth_version(changes)
    config = AutoConfig.for_model(family, **(SIZES[family] | tokens | {"initializer_range": spread} | changes))
    model = (AutoModelForCausalLM if head else AutoModel).from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms of a fresh model are all zeros and ones: a swapped pair would go unnoticed.
            if name.endswith("bias") or "ln_" in name or "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def _of_the_fourth_version(changes: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with the fields that rope_parameters replaced."""
    rope = dict(changes.get("rope_parameters") or {})
    others = {name: value for name, value in changes.items() if name != "rope_parameters"}
    return others | ({"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope} if rope else {})


def words(batch: int, tokens: int, seed: int = 4) -> Tensor:
    return torch.randint(1, 61, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def padded_at_the_start(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Row r of a batch begins with r tokens of padding."""
    ids, mask = ids.clone(), torch.ones_like(ids)
    for row in range(1, len(ids)):
        ids[row, :row], mask[row, :row] = 0, 0
    return ids, mask


def forward(model: Any, ids: Tensor, mask: Tensor | None = None) -> Any:
    """As users call it: positions count all tokens of a row."""
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask)


def plain(model: Any, ids: Tensor, mask: Tensor | None = None) -> Any:
    """As transformers' generate calls it: positions count the tokens that the mask counts."""
    mask = torch.ones_like(ids) if mask is None else mask
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
