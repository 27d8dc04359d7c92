"""The workload of a comparison, made from one of our checkpoints: weights, token ids, and what is due in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel

from bench.peers.workload_file import Arrays, Workload

_SEED = 7


def token_ids(batch: int, tokens: int, vocabulary: int) -> Tensor:
    """Random, the same at each call. Shapes: int64 [B, T]."""
    return torch.randint(0, vocabulary, (batch, tokens), generator=torch.Generator().manual_seed(_SEED))


def workload(folder: Path, batch: int, tokens: int) -> tuple[Workload, Tensor, Tensor]:
    """The peers' part, the token ids for ours, and the last hidden state of transformers in float32 for everybody.

    Shapes: ids [B, T], last hidden state [B, T, D].
    """
    model = BertModel.from_pretrained(folder).eval()
    ids = token_ids(batch, tokens, model.config.vocab_size)
    with torch.no_grad():
        hidden = model.embeddings(input_ids=ids)
        due = model(input_ids=ids).last_hidden_state
    layers = [layer_arrays(layer) for layer in model.encoder.layer]
    heads, epsilon = model.config.num_attention_heads, model.config.layer_norm_eps
    return Workload(hidden.numpy(), layers, heads, epsilon), ids, due


def layer_arrays(layer: Any) -> Arrays:
    """The arrays of one of transformers' `BertLayer`, by `NAMES`."""
    attention = layer.attention
    projections = [attention.self.query, attention.self.key, attention.self.value]
    tensors = {
        "qkv.weight": torch.cat([p.weight for p in projections]).T,
        "qkv.bias": torch.cat([p.bias for p in projections]),
        "output.weight": attention.output.dense.weight.T,
        "output.bias": attention.output.dense.bias,
        "attention_norm.weight": attention.output.LayerNorm.weight,
        "attention_norm.bias": attention.output.LayerNorm.bias,
        "up.weight": layer.intermediate.dense.weight.T,
        "up.bias": layer.intermediate.dense.bias,
        "down.weight": layer.output.dense.weight.T,
        "down.bias": layer.output.dense.bias,
        "feedforward_norm.weight": layer.output.LayerNorm.weight,
        "feedforward_norm.bias": layer.output.LayerNorm.bias,
    }
    return {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}
