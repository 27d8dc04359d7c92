"""BERT in plain torch floats, from tensors named as in a checkpoint: what the secure model's error is measured by."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, linear

from secure.models.families.bert import BertConfig


class RandomCheckpoint:
    """Weights of a fresh model, made as they are asked for: normal with deviation 0.02, norms the identity."""

    def __init__(self, seed: int) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Shapes: -> float64 `shape`."""
        if name.endswith("LayerNorm.weight"):
            made = torch.ones(shape, dtype=torch.float64)
        else:
            made = torch.randn(shape, generator=self._generator, dtype=torch.float32).to(torch.float64) * 0.02
        self.tensors[name] = made
        return made


def last_hidden_state(config: BertConfig, tensors: Mapping[str, Tensor], input_ids: Tensor) -> Tensor:
    """The encoder's result. Shapes: integers [B, T] -> [B, T, D], of the tensors' type and on their device."""
    batch, tokens = input_ids.shape
    heads = config.num_attention_heads

    def dense(name: str, x: Tensor) -> Tensor:
        return linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], config.layer_norm_eps)

    def by_head(x: Tensor) -> Tensor:
        return x.reshape(batch, tokens, heads, -1).transpose(1, 2)

    x = embedding(input_ids, tensors["embeddings.word_embeddings.weight"])
    x = x + tensors["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.position_embeddings.weight"][:tokens])
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (by_head(dense(f"{layer}.attention.self.{part}", x)) for part in ("query", "key", "value"))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
        context = (weights @ v).transpose(1, 2).reshape(batch, tokens, -1)
        x = norm(f"{layer}.attention.output.LayerNorm", x + dense(f"{layer}.attention.output.dense", context))
        inner = gelu(dense(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", x + dense(f"{layer}.output.dense", inner))
    return x
