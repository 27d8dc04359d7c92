"""An encrypted checkpoint from its folder onto a device, and the tensors that go into it and come out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from secure.parties.encrypted.engine import Pooling
from secure.protocols.core.errors import CheckpointError

_CLASSES = {
    "ForCausalLM": AutoModelForCausalLM,
    "LMHeadModel": AutoModelForCausalLM,
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForTokenClassification": AutoModelForTokenClassification,
    "ForQuestionAnswering": AutoModelForQuestionAnswering,
    "ForImageClassification": AutoModelForImageClassification,
}


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Shapes: [B, T, D], [B, T] -> [B, D], or [B, T, D] with zeros for padding."""
    weight = mask[..., None].to(hidden.dtype)
    if pooling == "none":
        return hidden * weight
    if pooling == "mean":
        return (hidden * weight).sum(1) / weight.sum(1)
    last = mask.sum(1).long() - 1
    place = torch.zeros_like(last) if pooling == "first" else last
    return hidden[torch.arange(len(hidden), device=hidden.device), place]


def padded(rows: Sequence[Sequence[int]], device: torch.device, filling: int = 0) -> Tensor:
    """Rows of unequal length as one tensor, filled up at the end. Shapes: int64 [rows, longest]."""
    tensors = [torch.tensor(list(row)) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filling).to(device)


def load_model(folder: Path) -> PreTrainedModel:
    """The model, in the number format of its file. Never runs code out of the folder, never asks the network."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **options)
        name = (config.architectures or [""])[0]
        kind = next((auto for ending, auto in _CLASSES.items() if name.endswith(ending)), AutoModel)
        model = kind.from_pretrained(folder, dtype="auto", use_safetensors=True, **options)
    # transformers has many ways to fail on bad files.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(f"{folder} cannot be loaded: {reason[0] if reason else type(error).__name__}") from None
    if not isinstance(model, PreTrainedModel):
        raise CheckpointError(f"{folder} holds a {type(model).__name__}, which is not supported")
    for module in model.modules():
        if getattr(module, "rope_type", None) in _CHANGING_ROTATIONS:
            module.forward = _Rotations(module)
    return model


_CHANGING_ROTATIONS = ("dynamic", "longrope")
"""Rotary positions whose frequencies depend on a sequence's length."""


class _Rotations:
    """The forward pass of such rotary positions, one thread at a time and the same whatever ran before.

    transformers keeps the frequencies of the latest sequence in the module, where those of other threads would read
    them. Those of dynamic ones even stay as long as a longer sequence has left them.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._forward = module.forward
        self._lock = threading.Lock()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        with self._lock:
            self._module.max_seq_len_cached = self._module.original_max_seq_len
            self._module.inv_freq = self._module.original_inv_freq.clone()
            return self._forward(*inputs, **named)
