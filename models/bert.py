"""BERT encoders: embeddings, self-attention layers, pooler. Any size of `BertModel`.

B batch, T tokens, D width, H heads, V vocabulary (words, then token types), F width of the feed-forward layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from models.manifest import Kind, ParameterSpec
from protocols.core.errors import CheckpointError
from protocols.core.secret import Protocol, Secret
from protocols.functions.embedding import embedding
from protocols.functions.gelu import gelu
from protocols.functions.layernorm import layer_norm
from protocols.functions.softmax import exponentials
from protocols.functions.tanh import tanh

_REQUIRED = {"model_type": "bert", "hidden_act": "gelu"}
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
_MOST_WIDTH = 4096
_MOST_UNDIVIDED = 128  # tokens: values up to 64 each may then add up in attention


@dataclass(frozen=True)
class BertConfig:
    """The fields of a Hugging Face config that shape the computation."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pooler: bool = True

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> BertConfig:
        """Raises CheckpointError naming the first field whose value is missing or unsupported."""
        for name, value in (_REQUIRED | _ONLY).items():
            found = config.get(name, value if name in _ONLY else None)
            if found != value:
                raise CheckpointError(f"config.json: {name} is {found!r}; supported is {value!r}")
        try:
            chosen = cls(**{field.name: config[field.name] for field in fields(cls) if field.name != "pooler"})
        except KeyError as error:
            raise CheckpointError(f"config.json: {error.args[0]} is missing") from None
        chosen.check()
        return chosen

    def check(self) -> None:
        """Raises CheckpointError for values that no encoder can have."""
        for name, value in asdict(self).items():
            if name != "pooler" and not (isinstance(value, int | float) and value > 0):
                raise CheckpointError(f"config.json: {name} is {value!r}; it must be a positive number")
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"config.json: hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_size > _MOST_WIDTH:
            raise CheckpointError(f"config.json: hidden_size {self.hidden_size}; at most {_MOST_WIDTH} is supported")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)


def parameters(config: BertConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
    """Every tensor of the secure model. With public weights the client looks its embeddings up itself."""
    width, inner = config.hidden_size, config.intermediate_size
    found: dict[str, tuple[Kind, tuple[int, ...]]] = {}
    if not public:
        found["embeddings.table"] = "table", (config.vocab_size + config.type_vocab_size, width)
        found["embeddings.positions"] = "offset", (config.max_position_embeddings, width)
    norms = ["embeddings.norm"]
    dense = {}
    for i in range(config.num_hidden_layers):
        layer = f"layer.{i}"
        dense[f"{layer}.attention.qkv"] = width, 3 * width
        dense[f"{layer}.attention.output"] = width, width
        dense[f"{layer}.feedforward.up"] = width, inner
        dense[f"{layer}.feedforward.down"] = inner, width
        norms += [f"{layer}.attention.norm", f"{layer}.feedforward.norm"]
    if config.pooler:
        dense["pooler"] = width, width
    for name, shape in dense.items():
        found[f"{name}.weight"] = "factor", shape
        found[f"{name}.bias"] = "offset", shape[1:]
    for name in norms:
        found[f"{name}.gain"] = "gain", (width,)
        found[f"{name}.offset"] = "offset", (width,)
    return {name: ParameterSpec(shape, kind, fraction_bits) for name, (kind, shape) in found.items()}


def from_checkpoint(config: BertConfig, take: Callable[[str, tuple[int, ...]], Tensor]) -> dict[str, Tensor]:
    """The secure model's tensors in float64. `take(name, shape)` hands out each tensor of the checkpoint once.

    Weights become [in, out]; queries, keys and values one matrix. Queries absorb log2(e) / sqrt(D / H), so that the
    softmax works in powers of two and needs no scaling.
    """
    width, inner = config.hidden_size, config.intermediate_size
    tensors = {}

    def dense(name: str, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return take(f"{name}.weight", (columns, rows)).T, take(f"{name}.bias", (columns,))

    def norm(target: str, name: str) -> None:
        tensors[f"{target}.gain"] = take(f"{name}.weight", (width,))
        tensors[f"{target}.offset"] = take(f"{name}.bias", (width,))

    words = take("embeddings.word_embeddings.weight", (config.vocab_size, width))
    types = take("embeddings.token_type_embeddings.weight", (config.type_vocab_size, width))
    tensors["embeddings.table"] = torch.cat([words, types])
    tensors["embeddings.positions"] = take(
        "embeddings.position_embeddings.weight", (config.max_position_embeddings, width)
    )
    norm("embeddings.norm", "embeddings.LayerNorm")
    query_scale = math.log2(math.e) / math.sqrt(width / config.num_attention_heads)
    for i in range(config.num_hidden_layers):
        source, target = f"encoder.layer.{i}", f"layer.{i}"
        parts = [dense(f"{source}.attention.self.{part}", width, width) for part in ("query", "key", "value")]
        parts[0] = parts[0][0] * query_scale, parts[0][1] * query_scale
        pairs = {
            "attention.qkv": (torch.cat([w for w, _ in parts], 1), torch.cat([b for _, b in parts])),
            "attention.output": dense(f"{source}.attention.output.dense", width, width),
            "feedforward.up": dense(f"{source}.intermediate.dense", width, inner),
            "feedforward.down": dense(f"{source}.output.dense", inner, width),
        }
        for name, (weight, bias) in pairs.items():
            tensors[f"{target}.{name}.weight"], tensors[f"{target}.{name}.bias"] = weight, bias
        norm(f"{target}.attention.norm", f"{source}.attention.output.LayerNorm")
        norm(f"{target}.feedforward.norm", f"{source}.output.LayerNorm")
    if config.pooler:
        tensors["pooler.weight"], tensors["pooler.bias"] = dense("pooler.dense", width, width)
    return tensors


class Bert:
    """The forward pass over secret tensors. `weights` maps parameter names to what the protocol prepared."""

    def __init__(self, config: BertConfig, protocol: Protocol, weights: Mapping[str, Any]) -> None:
        self.config = config
        self.protocol = protocol
        self.weights = weights

    def embed(self, one_hot: Secret) -> Secret:
        """Word, token type and position embeddings. Shapes: one-hot [B, T, V] -> [B, T, D]."""
        rows = embedding(one_hot, self._factor("embeddings.table"))
        return rows + self._bound("embeddings.positions")[: one_hot.shape[1]]

    def encode(self, embeddings: Secret, mask: Secret | None) -> Secret:
        """Embeddings before their layer norm to last hidden state. Shapes: [B, T, D], additive [B, T] -> [B, T, D]."""
        with self.protocol.layer("embeddings"):
            x = self._norm("embeddings.norm", embeddings)
            if mask is not None:
                # Masked once, in a form that scores can be added to in every layer without being opened again.
                mask = self.protocol.truncate(mask.reshape(mask.shape[0], 1, 1, mask.shape[1]), mask.fraction_bits)
        for i in range(self.config.num_hidden_layers):
            with self.protocol.layer(f"layer.{i}"):
                x = self._norm(f"layer.{i}.attention.norm", x + self._attention(f"layer.{i}.attention", x, mask))
                inner = gelu(self._dense(f"layer.{i}.feedforward.up", x))
                x = self._norm(f"layer.{i}.feedforward.norm", x + self._dense(f"layer.{i}.feedforward.down", inner))
        return x

    def pool(self, x: Secret) -> Secret:
        """tanh of a dense layer on the first token. Shapes: [B, T, D] -> [B, D]."""
        with self.protocol.layer("pooler"):
            return tanh(self._dense("pooler", x[:, 0]))

    def _attention(self, name: str, x: Secret, mask: Secret | None) -> Secret:
        batch, tokens, width = x.shape
        heads = self.config.num_attention_heads
        joined = self._dense(f"{name}.qkv", x).reshape(batch, tokens, 3, heads, width // heads)
        q, k, v = (joined[:, :, i].transpose(1, 2) for i in range(3))  # [B, H, T, D/H]
        scores = q @ k.transpose(-1, -2)  # [B, H, T, T]
        if mask is not None:
            scores = scores + mask
        powers, inverse = exponentials(scores, base_two=True)
        # Dividing after the product takes fewer elements, but the undivided sum must stay below 2^14.
        context = (powers @ v) * inverse if tokens <= _MOST_UNDIVIDED else (powers * inverse) @ v
        return self._dense(f"{name}.output", context.transpose(1, 2).reshape(batch, tokens, width))

    def _dense(self, name: str, x: Secret) -> Secret:
        return self.protocol.linear(x, self._factor(f"{name}.weight"), self._factor(f"{name}.bias"))

    def _norm(self, name: str, x: Secret) -> Secret:
        gain, offset = self._bound(f"{name}.gain"), self._bound(f"{name}.offset")
        return layer_norm(x, gain, offset, self.config.layer_norm_eps)

    def _bound(self, name: str) -> Secret:
        return self.protocol.bind(self.weights[name])

    def _factor(self, name: str) -> Any:
        return self.protocol.factor(self.weights[name])
