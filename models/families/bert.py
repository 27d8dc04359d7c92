"""BERT encoders and their kin: embeddings, self-attention layers, pooler, head. Any size of `BertModel`.

What a norm computes is x' = (x - mean) / deviation alone, a number that linear layers take without an opening of its
own. The next layer reads x', with the norm's gain g and offset b absorbed by its matrix, and one column more that gives
the mean of g x'. What is added to the residual stream is g x' less that mean, before the one truncation of the layer
that writes there, whose matrix and bias (with b) are centred: so the next norm finds a mean of zero. See
`secure.models.layers.folding`.

B batch, T tokens, D width, H heads, V vocabulary (words, then token types), F width of the feed-forward layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Take
from secure.models.contract.manifest import Kind, ParameterSpec
from secure.models.families import heads
from secure.models.families.bert_config import BertConfig
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.attention import self_attention
from secure.models.layers.folding import centred, joined_with_stream, mean_of, reading, with_mean, writing
from secure.models.layers.mixtures import Padding, ScoreRows, in_order, mixed_attention
from secure.models.layers.plan import NO_ACTIVATION, NORMS, ordered_heads
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.primitives import as_factor, multiply_weight, truncate
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.embedding import embedding
from secure.protocols.functions.layernorm import VARIANCE_POWERS, rms_normalise
from secure.protocols.functions.tanh import tanh

__all__ = ["BERT_NAMES", "Bert", "BertConfig", "Names", "from_checkpoint", "parameters"]


@dataclass(frozen=True)
class Names:
    """What a family's checkpoints call the tensors of a layer, within `layer`, a dot, and the layer's number."""

    layer: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    feedforward_norm: str


BERT_NAMES = Names(
    layer="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    feedforward_norm="output.LayerNorm",
)


def parameters(config: BertConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
    """Every tensor of the secure model. With public weights the client looks its embeddings up itself."""
    width, inner = config.hidden_size, config.intermediate_size
    found: dict[str, tuple[Kind, tuple[int, ...]]] = {}
    if not public:
        found["embeddings.table"] = "table", (config.table_rows, width)
        found["embeddings.positions"] = "offset", (config.max_position_embeddings, width)
    norms = ["embeddings.norm"]
    dense = {}
    for i in range(config.num_hidden_layers):
        layer = f"layer.{i}"
        dense[f"{layer}.attention.qkv"] = width, 3 * width + 1
        dense[f"{layer}.attention.output"] = width, width
        if config.activation_of(i) == NO_ACTIVATION:
            dense[f"{layer}.feedforward"] = width, width
        else:
            dense[f"{layer}.feedforward.up"] = width, inner + 1
            dense[f"{layer}.feedforward.down"] = inner, width
            norms.append(f"{layer}.attention.norm")
        norms.append(f"{layer}.feedforward.norm")
    if config.pooler:
        dense["pooler"] = width, width
    for name, shape in dense.items():
        found[f"{name}.weight"] = "factor", shape
        found[f"{name}.bias"] = "offset", shape[1:]
    for name in norms:
        found[f"{name}.gain"] = "gain", (width,)
    found[f"{norms[-1]}.offset"] = "offset", (width,)  # of the output; all others are absorbed
    found |= heads.shapes(config)
    return {name: ParameterSpec(shape, kind, fraction_bits) for name, (kind, shape) in found.items()}


def from_checkpoint(config: BertConfig, names: Names, take: Take, words: Tensor) -> dict[str, Tensor]:
    """The encoder's tensors in float64. `take(name, shape)` hands out each other tensor of the checkpoint once.

    Weights become [in, out]; queries, keys and values one matrix. Queries absorb log2(e) / sqrt(D / H), so that the
    softmax works in powers of two and needs no scaling. words: the word table, [words, D].
    """
    width, inner = config.hidden_size, config.intermediate_size

    def dense(name: str, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return take(f"{name}.weight", (columns, rows)).T, take(f"{name}.bias", (columns,))

    def norm(name: str) -> tuple[Tensor, Tensor]:
        return take(f"{name}.weight", (width,)), take(f"{name}.bias", (width,))

    table = [words]
    if config.type_vocab_size:
        table.append(take("embeddings.token_type_embeddings.weight", (config.type_vocab_size, width)))
    skipped = config.skipped_positions
    positions = take("embeddings.position_embeddings.weight", (skipped + config.max_position_embeddings, width))
    embeddings = {"embeddings.table": torch.cat(table), "embeddings.positions": positions[skipped:]}
    tensors = {name: centred(rows) * 2.0**config.embedding_exponent for name, rows in embeddings.items()}
    gain, offset = norm("embeddings.LayerNorm")
    tensors["embeddings.norm.gain"] = gain
    query_scale = math.log2(math.e) / math.sqrt(width / config.num_attention_heads)
    for i in range(config.num_hidden_layers):
        source, target = f"{names.layer}.{i}", f"layer.{i}"
        parts = [dense(f"{source}.{part}", width, width) for part in (names.query, names.key, names.value)]
        parts[0] = parts[0][0] * query_scale, parts[0][1] * query_scale
        joined = torch.cat([w for w, _ in parts], 1), torch.cat([b for _, b in parts])
        sublayers = (
            ("attention", "qkv", joined, "output", dense(f"{source}.{names.attention_output}", width, width)),
            (
                "feedforward",
                "up",
                dense(f"{source}.{names.up}", width, inner),
                "down",
                dense(f"{source}.{names.down}", inner, width),
            ),
        )
        norms = names.attention_norm, names.feedforward_norm
        for (part, reader, read, writer, (weight, bias)), following in zip(sublayers, norms, strict=True):
            before, (left, left_bias) = reading(gain, offset, *read), writing(weight, bias + offset)
            if part == "attention" and config.attention_kinds:
                tokens = config.max_position_embeddings
                before, left = ordered_heads(config.kinds_of_heads(i), tokens, before, left)
            if part == "feedforward" and config.activation_of(i) == NO_ACTIVATION:
                pairs = {part: joined_with_stream(gain, before, (left, left_bias))}
                del tensors[f"{target}.attention.norm.gain"]
            else:
                pairs = {f"{part}.{reader}": with_mean(gain, *before), f"{part}.{writer}": (left, left_bias)}
            for name, pair in pairs.items():
                tensors[f"{target}.{name}.weight"], tensors[f"{target}.{name}.bias"] = pair
            gain, offset = norm(f"{source}.{following}")
            tensors[f"{target}.{part}.norm.gain"] = gain
    tensors[f"layer.{config.num_hidden_layers - 1}.feedforward.norm.offset"] = offset
    if config.pooler:
        tensors["pooler.weight"], tensors["pooler.bias"] = dense("pooler.dense", width, width)
    return tensors


def _padding(mask: Secret | None, kept: Secret | None, parts: Secret | None) -> Padding | None:
    """What was shared of tokens that count. Shapes: [B, 1, 1, T], [B, T], [B, T]."""
    if mask is None or kept is None or parts is None:
        return None
    shape = kept.shape[0], 1, kept.shape[1], 1
    return Padding(mask, as_factor(kept.reshape(*shape)), as_factor(parts.reshape(*shape)))


class Bert:
    """The forward pass over secret tensors. `weights` maps parameter names to what the protocol prepared."""

    def __init__(self, config: BertConfig, protocol: Protocol, weights: Mapping[str, Any]) -> None:
        self.config = config
        self.protocol = protocol
        self._layers = PreparedLayers(protocol, weights, config.layer_norm_eps)

    def embed(self, one_hot: Secret) -> Secret:
        """Word, token type and position embeddings. Shapes: one-hot [B, T, V] -> [B, T, D]."""
        rows = embedding(one_hot, self._layers.factor("embeddings.table"))
        return rows + self._layers.bound("embeddings.positions")[: one_hot.shape[1]]

    def encode(
        self, embeddings: Secret, mask: Secret | None, kept: Secret | None = None, parts: Secret | None = None
    ) -> Secret:
        """Embeddings before their layer norm to last hidden state.

        kept, parts: as of a `Padding`, where heads weigh by them. Shapes: [B, T, D], [B, T] each -> [B, T, D].
        """
        with self.protocol.layer("embeddings"):
            epsilon = math.ldexp(self.config.layer_norm_eps, 2 * self.config.embedding_exponent)
            x = rms_normalise(embeddings, epsilon, powers=VARIANCE_POWERS, wide=True)
            if mask is not None:
                # Masked once, in a form that scores can be added to in every layer without being opened again.
                mask = truncate(mask.reshape(mask.shape[0], 1, 1, mask.shape[1]), mask.fraction_bits)
            rows = ScoreRows(self.config.max_position_embeddings, _padding(mask, kept, parts))
        layers, norm = self._layers, "embeddings.norm"
        for i in range(self.config.num_hidden_layers):
            name, last = f"layer.{i}", i == self.config.num_hidden_layers - 1
            with self.protocol.layer(name):
                joined, stream = self._read(norm, x, f"{name}.attention.qkv")
                kinds, norms = self.config.kinds_of_heads(i), self.config.norms_of(i)
                if set(kinds) == {"softmax"}:
                    context = self_attention(joined, len(kinds), mask=mask)
                else:
                    context = mixed_attention(joined, [kinds[head] for head in in_order(kinds)], rows=rows)
                total = layers.dense(f"{name}.attention.output", context, residual=stream)
                total = self._feedforward(i, self._normalised(total, norms[0]))
                norm = f"{name}.feedforward.norm"
                x = self._last(norm, total, norms[1]) if last else self._normalised(total, norms[1])
        return x

    def _feedforward(self, number: int, x: Secret) -> Secret:
        """What goes into the second norm, of what the first one gave. Shapes: [B, T, D] -> the same."""
        name, activation = f"layer.{number}", self.config.activation_of(number)
        if activation == NO_ACTIVATION:
            return self._layers.dense(f"{name}.feedforward", x)
        up, stream = self._read(f"{name}.attention.norm", x, f"{name}.feedforward.up")
        return self._layers.dense(f"{name}.feedforward.down", ACTIVATIONS[activation](up), residual=stream)

    def _last(self, norm: str, total: Secret, kind: str) -> Secret:
        """The last norm, whose gain and offset no other layer absorbs. Shapes: any -> same."""
        if kind == NORMS[0]:
            return self._layers.norm(norm, total, zero_mean=True)
        return total * self._layers.bound(f"{norm}.gain") + self._layers.bound(f"{norm}.offset")

    def _read(self, norm: str, x: Secret, reader: str) -> tuple[Secret, Secret]:
        """What a layer makes of a norm's result, and gain * x less its mean, not truncated: the residual stream.

        Shapes: [B, T, D] -> [B, T, N], [B, T, D].
        """
        # First the product: it puts x in a form that the matrix takes, too.
        stream = multiply_weight(x, self._layers.factor(f"{norm}.gain"))
        read = self._layers.dense(reader, x, wide=True)
        return read[..., :-1], stream - mean_of(read[..., -1:], x.shape[-1])

    def _normalised(self, x: Secret, kind: str) -> Secret:
        """A norm of what has a mean of zero, without gain and offset. Shapes: any -> same."""
        if kind != NORMS[0]:
            return x
        return rms_normalise(x, self.config.layer_norm_eps, powers=VARIANCE_POWERS, wide=True)

    def pool(self, x: Secret) -> Secret:
        """tanh of a dense layer on the first token. Shapes: [B, T, D] -> [B, D]."""
        with self.protocol.layer("pooler"):
            return tanh(self._layers.dense("pooler", x[:, 0]))

    def logits(self, x: Secret) -> Secret:
        """The head on the last hidden state. Shapes: [B, T, D] -> as `heads.logits_shape` says."""
        with self.protocol.layer("head"):
            return heads.logits(self._layers, self.config.head, x)
