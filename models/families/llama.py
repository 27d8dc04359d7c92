"""LLaMA and its relatives: RMSNorm, rotary positions, grouped-query attention, a gated feed-forward layer.

Mistral, Qwen2 and Qwen3 differ in biases, in windows of attention and in norms of heads, as their `LlamaFields` say.

Identities as in GPT-2 make a layer cheap: a norm's gain is absorbed by the matrix that reads it, and log2(e) / sqrt(d)
by the queries, or by the gain of their own norm where heads have one. Queries and keys are rotated by their slot, which
is public and counts padding, too: scores depend on differences of positions alone, so padding before a prompt changes
none. Keys are kept as they were rotated.

B batch, T tokens, D width, H query heads, G key heads, d width of a head, V words, F width of the feed-forward layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Architecture, Stored, Take
from secure.models.contract.manifest import Kind, Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.contract.rehearsal import NormInput
from secure.models.families.decoder import Cache, Decoder, DecoderSizes
from secure.models.families.decoder_heads import has_tied_head, name_of, other_heads, outputs
from secure.models.families.heads import is_own
from secure.models.families.llama_config import (
    HEADS,
    WRITERS,
    JoinedProduct,
    LlamaConfig,
    LlamaFields,
)
from secure.models.families.residual_range import check_exponent, example_ids, stream_range
from secure.models.inputs.small_embeddings import small_rows
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.folding import scaled_down
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.primitives import concatenate
from secure.protocols.core.secret import Protocol, Secret, multiply
from secure.protocols.functions.embedding import embedding
from secure.protocols.functions.layernorm import rms_norm, rms_normalise
from secure.protocols.functions.rotary import rotate, rotations


class Llama(Decoder):
    """The forward pass over secret tensors."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.config = LlamaConfig(**manifest.config)

    @property
    def sizes(self) -> DecoderSizes:
        c = self.config
        return DecoderSizes(
            c.layers, c.width, c.vocab_size, c.positions, c.vocab_size, outputs(c), c.task, c.padding_id
        )

    def rows_of_table(self, ids: Tensor, positions: Tensor) -> list[Tensor]:
        return [ids]

    def embed(self, protocol: Protocol, weights: Mapping[str, Any], one_hot: Secret) -> Secret:
        return embedding(one_hot, weights["embeddings.table"])

    def decode(self, protocol: Protocol, weights: Mapping[str, Any], embeddings: Secret, cache: Cache) -> Secret:
        config, x = self.config, embeddings
        layers, epsilon = PreparedLayers(protocol, weights, config.epsilon), config.stream_epsilon
        turns = self._turns(torch.arange(cache.tokens, cache.tokens + x.shape[1]))
        for i, window in enumerate(config.windows):
            name = f"layer.{i}"
            with protocol.layer(name):
                normal = rms_normalise(x, epsilon if i else config.embedding_epsilon)
                if i == 0:
                    x = scaled_down(x, config.embedding_exponent)
                x = self._attention(name, layers, normal, turns, window, cache, x)
                x = self._feed_forward(name, layers, rms_normalise(x, epsilon, wide=True), x)
        return x

    def finish(self, protocol: Protocol, weights: Mapping[str, Any], x: Secret, *, head: bool) -> Secret:
        layers, normal = (
            PreparedLayers(protocol, weights, self.config.epsilon),
            rms_normalise(x, self.config.stream_epsilon),
        )
        return layers.logits("head", normal) if head else normal * layers.bound("norm.gain")

    def _attention(
        self,
        name: str,
        layers: PreparedLayers,
        x: Secret,
        turns: tuple[Tensor, Tensor],
        window: int | None,
        cache: Cache,
        stream: Secret,
    ) -> Secret:
        """What attention reads of x, added to the residual stream. Shapes: [B, T, D] twice -> [B, T, D]."""
        c, (batch, tokens, _) = self.config, x.shape
        joined = layers.dense(f"{name}.attention.qkv", x)
        joined = joined.reshape(batch, tokens, c.heads + 2 * c.groups, c.head_width).transpose(1, 2)
        if c.head_norms:
            compared, values = joined[:, : -c.groups], joined[:, -c.groups :]
            compared = rms_norm(compared, layers.bound(f"{name}.attention.norm.gain"), c.epsilon)
            joined = concatenate(compared, [values], 1)
        turned = rotate(joined, *turns)
        q, k, v = turned[:, : c.heads], turned[:, c.heads : -c.groups], turned[:, -c.groups :]
        context = self.attend(name, q, k, v, cache, window=window)
        return layers.dense(f"{name}.attention.output", context, residual=stream)

    def _turns(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for queries, keys and values. Shapes: integer [T] -> float64 [H + 2 G, T, d/2] twice.

        Values are turned by nothing: they are opened together with the others, in a ring that products take.
        """
        c = self.config
        cos, sin = rotations(slots, torch.tensor(c.frequencies), c.rotation_scale)
        turned, kept = (c.heads + c.groups, 1, 1), (c.groups, 1, 1)
        return (
            torch.cat([cos.repeat(turned), torch.ones_like(cos).repeat(kept)]),
            torch.cat([sin.repeat(turned), torch.zeros_like(sin).repeat(kept)]),
        )

    def _feed_forward(self, name: str, layers: PreparedLayers, x: Secret, stream: Secret) -> Secret:
        """What the gated layer makes of x, added to the residual stream. Shapes: [B, T, D] twice -> [B, T, D]."""
        inner = self.config.inner
        joined = layers.dense(f"{name}.feedforward.gate_up", x, wide=True)
        gate, up = ACTIVATIONS[self.config.activation](joined[..., :inner]), joined[..., inner:]
        product = multiply(gate, up, fraction_bits=up.fraction_bits)
        return layers.dense(f"{name}.feedforward.down", product, residual=stream)


class LlamaArchitecture(Architecture):
    """Checkpoints of one family, with or without the head."""

    prefixes = ("model.", "transformer.")  # the second one where questions are answered

    def __init__(self, fields: LlamaFields) -> None:
        self._fields = fields

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> LlamaConfig:
        return self._fields.parse(raw, head=head)

    def parameters(self, config: LlamaConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        found: dict[str, tuple[Kind, tuple[int, ...]]] = {}
        if not public:
            found["embeddings.table"] = "table", (config.vocab_size, config.width)
        for i in range(config.layers):
            for name, product in config.products.items():
                columns = sum(product.columns)
                found[f"layer.{i}.{name}.weight"] = "factor", (product.rows, columns)
                if product.biased:
                    found[f"layer.{i}.{name}.bias"] = "offset", (columns,)
            if config.head_norms:
                found[f"layer.{i}.attention.norm.gain"] = "gain", (config.heads + config.groups, 1, config.head_width)
        if config.head:
            found["head.weight"] = "factor", (config.width, outputs(config))
            if config.head_bias:
                found["head.bias"] = "offset", (outputs(config),)
        else:
            found["norm.gain"] = "gain", (config.width,)
        return {name: ParameterSpec(shape, kind, fraction_bits) for name, (kind, shape) in found.items()}

    def from_checkpoint(self, config: LlamaConfig, take: Take) -> dict[str, Tensor]:
        words = take("embed_tokens.weight", (config.vocab_size, config.width))
        stream, finer = (
            2.0**config.stream_exponent,
            2.0**config.embedding_exponent,
        )  # a factor of all that writes to the residual stream
        tensors = {"embeddings.table": words * stream * finer}
        queries, scale = config.heads * config.head_width, math.log2(math.e) / math.sqrt(config.head_width)
        for i in range(config.layers):
            for name, product in config.products.items():
                for part, tensor in _joined(product, f"layers.{i}", take).items():
                    if name == "attention.qkv" and not config.head_norms:
                        scales = torch.ones(tensor.shape[-1], dtype=torch.float64)
                        scales[:queries] = scale
                        tensor = tensor * scales
                    elif name in WRITERS:
                        tensor = tensor * stream
                    tensors[f"layer.{i}.{name}.{part}"] = tensor
            if config.head_norms:
                gains = [take(f"layers.{i}.self_attn.{x}_norm.weight", (config.head_width,)) for x in "qk"]
                repeated = (gains[0] * scale).repeat(config.heads, 1), gains[1].repeat(config.groups, 1)
                tensors[f"layer.{i}.attention.norm.gain"] = torch.cat(repeated).unsqueeze(1)
        gain = take("norm.weight", (config.width,))
        if config.head:
            head, count = name_of(config, HEADS), outputs(config)
            rows = words if has_tied_head(config) else take(f"{head}.weight", (count, config.width))
            tensors["head.weight"] = gain.unsqueeze(1) * rows.T
            if config.head_bias:
                tensors["head.bias"] = take(f"{head}.bias", (count,))
        else:
            tensors["norm.gain"] = gain
        return tensors

    def example(self, config: LlamaConfig, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inputs:
        words = tensors["embeddings.table"][: config.vocab_size]
        return {"input_ids": example_ids(words, config.positions, raw.get("bos_token_id"))}

    def stream_exponent(self, config: LlamaConfig, norms: Sequence[NormInput], value_bits: int) -> int:
        if config.head_norms:
            # A layer has three norms, and the second one is that of heads, which does not see the stream.
            norms = [norm for number, norm in enumerate(norms) if number % 3 != 1]
        return stream_range(norms, config.width).exponent(value_bits)

    def with_small_rows(
        self, config: LlamaConfig, tensors: Mapping[str, Tensor]
    ) -> tuple[LlamaConfig, tuple[int, ...]]:
        exponent, refused = small_rows(tensors["embeddings.table"], [], config.stream_epsilon)
        return replace(config, embedding_exponent=exponent), refused

    def with_stream_exponent(self, config: LlamaConfig, exponent: int) -> LlamaConfig:
        check_exponent(exponent)
        return replace(config, stream_exponent=exponent)

    def fitted(self, config: LlamaConfig, stored: Stored) -> LlamaConfig:
        own = has_tied_head(config) and is_own(stored, "lm_head.weight", "embed_tokens.weight")
        return replace(config, tied=config.tied and not own)

    def copies(self, config: LlamaConfig) -> Mapping[str, str]:
        return {"lm_head.weight": "embed_tokens.weight"} if has_tied_head(config) else {}

    def ignored(self, config: LlamaConfig) -> tuple[str, ...]:
        # Frequencies, which older checkpoints store, once or within every layer.
        places = ("", *(f"layers.{i}.self_attn." for i in range(config.layers)))
        frequencies = tuple(f"{place}rotary_emb.inv_freq" for place in places)
        return (*frequencies, *other_heads(config, HEADS))

    def network(self, manifest: Manifest) -> Llama:
        return Llama(manifest)


def _joined(product: JoinedProduct, layer: str, take: Take) -> dict[str, Tensor]:
    """Weight [rows, columns], with the gain of the norm before it absorbed, and bias [columns] if there is one."""
    parts = [(f"{layer}.{name}", count) for name, count in zip(product.names, product.columns, strict=True)]
    weight = torch.cat([take(f"{name}.weight", (count, product.rows)).T for name, count in parts], 1)
    if product.norm:
        weight *= take(f"{layer}.{product.norm}.weight", (product.rows,)).unsqueeze(1)
    found = {"weight": weight}
    if product.biased:
        found["bias"] = torch.cat([take(f"{name}.bias", (count,)) for name, count in parts])
    return found
