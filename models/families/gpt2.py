"""GPT-2: decoder layers with norms before attention and feed-forward, learnt positions, tied embeddings.

The identities of `secure.models.layers.folding` make its layers cheap.

B batch, T tokens, D width, H heads, V words, P positions, F width of the feed-forward layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Architecture, Stored, Take
from secure.models.contract.config_fields import check_values, positive
from secure.models.contract.manifest import Kind, Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.contract.rehearsal import NormInput
from secure.models.families.decoder import Cache, Decoder, DecoderSizes
from secure.models.families.decoder_heads import (
    DecoderHead,
    Task,
    has_tied_head,
    head_fields,
    name_of,
    other_heads,
    outputs,
)
from secure.models.families.defaults import with_defaults
from secure.models.families.heads import is_own
from secure.models.families.residual_range import check_exponent, example_ids, stream_range
from secure.models.inputs.small_embeddings import small_rows
from secure.models.layers.activations import ACTIVATIONS, check_activation
from secure.models.layers.folding import centred, reading, scaled_down, writing
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Protocol, Secret
from secure.protocols.functions.embedding import embedding
from secure.protocols.functions.layernorm import rms_normalise

_SIZES = {
    "vocab_size": "vocab_size",
    "width": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "positions": "n_positions",
}
_HEADS: Mapping[str, DecoderHead] = {
    "LMHeadModel": DecoderHead("words", "lm_head"),
    "ForSequenceClassification": DecoderHead("sequence", "score"),
    "ForTokenClassification": DecoderHead("token", "classifier", biased=True),
    "ForQuestionAnswering": DecoderHead("span", "qa_outputs", biased=True),
}
_ONLY = {"add_cross_attention": False, "pruned_heads": {}, "quantization_config": None}


@dataclass(frozen=True)
class Gpt2Config:
    """scaled, scaled_by_layer: whether scores are divided by sqrt(D / H), and by each layer's number.

    head, task, tied, labels, head_bias, padding_id: see `secure.models.families.decoder_heads`. stream_exponent: the
    residual stream is held times 2^that, see `secure.models.families.residual_range`. embedding_exponent: what is
    looked up is held times 2^that more, see `secure.models.inputs.small_embeddings`.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    positions: int
    inner: int
    activation: str
    epsilon: float
    scaled: bool
    scaled_by_layer: bool
    head: bool
    tied: bool
    labels: int = 0
    stream_exponent: int = 0
    embedding_exponent: int = 0
    task: Task = "words"
    head_bias: bool = False
    padding_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def stream_epsilon(self) -> float:
        """What norms add to the mean square of the stream as it is held."""
        return math.ldexp(self.epsilon, 2 * self.stream_exponent)

    @property
    def embedding_epsilon(self) -> float:
        """What the first norm adds to the mean square of embeddings as they are looked up."""
        return math.ldexp(self.stream_epsilon, 2 * self.embedding_exponent)


class Gpt2(Decoder):
    """The forward pass over secret tensors."""

    def __init__(self, manifest: Manifest, config: Gpt2Config | None = None) -> None:
        """config: the manifest's, where a kin has more fields."""
        super().__init__(manifest)
        self.config = config or Gpt2Config(**manifest.config)

    @property
    def sizes(self) -> DecoderSizes:
        c = self.config
        return DecoderSizes(
            c.layers, c.width, c.vocab_size, c.positions, c.vocab_size + c.positions, outputs(c), c.task, c.padding_id
        )

    def rows_of_table(self, ids: Tensor, positions: Tensor) -> list[Tensor]:
        return [ids, positions + self.config.vocab_size]

    def embed(self, protocol: Protocol, weights: Mapping[str, Any], one_hot: Secret) -> Secret:
        return embedding(one_hot, weights["embeddings.table"])

    def decode(self, protocol: Protocol, weights: Mapping[str, Any], embeddings: Secret, cache: Cache) -> Secret:
        layers, x = PreparedLayers(protocol, weights, self.config.epsilon), embeddings
        activation = ACTIVATIONS[self.config.activation]
        for i in range(self.config.layers):
            name = f"layer.{i}"
            with protocol.layer(name):
                epsilon = self.config.stream_epsilon if i else self.config.embedding_epsilon
                normal = rms_normalise(x, epsilon, wide=True)
                if i == 0:
                    x = scaled_down(x, self.config.embedding_exponent)
                x = self._attention(name, layers, normal, cache, x)
                normal = rms_normalise(x, self.config.stream_epsilon, wide=True)
                inner = activation(layers.dense(f"{name}.feedforward.up", normal, wide=True))
                x = layers.dense(f"{name}.feedforward.down", inner, residual=x)
        return x

    def finish(self, protocol: Protocol, weights: Mapping[str, Any], x: Secret, *, head: bool) -> Secret:
        layers, normal = (
            PreparedLayers(protocol, weights, self.config.epsilon),
            rms_normalise(x, self.config.stream_epsilon),
        )
        if head:
            return layers.logits("head", normal)
        return normal * layers.bound("norm.gain") + layers.bound("norm.offset")

    def _attention(self, name: str, layers: PreparedLayers, x: Secret, cache: Cache, stream: Secret) -> Secret:
        """What attention reads of x, added to the residual stream. Shapes: [B, T, D] twice -> [B, T, D]."""
        batch, tokens, width = x.shape
        heads = self.config.heads
        joined = layers.dense(f"{name}.attention.qkv", x, wide=True).reshape(batch, tokens, 3, heads, width // heads)
        q, k, v = (joined[:, :, i].transpose(1, 2) for i in range(3))  # [B, H, T, D/H]
        return layers.dense(f"{name}.attention.output", self.attend(name, q, k, v, cache), residual=stream)


class Gpt2Architecture(Architecture):
    """Checkpoints with or without a head."""

    prefixes = ("transformer.",)

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> Gpt2Config:
        raw = with_defaults(raw)
        check_values(raw, {}, _ONLY)
        values = {ours: positive(raw, theirs, whole=True) for ours, theirs in _SIZES.items()}
        if values["width"] % values["heads"]:
            raise CheckpointError(f"config.json: n_embd {values['width']} is no multiple of n_head {values['heads']}")
        inner = 4 * values["width"] if raw.get("n_inner") is None else positive(raw, "n_inner", whole=True)
        return Gpt2Config(
            **values,
            inner=inner,
            activation=check_activation("activation_function", raw["activation_function"]),
            epsilon=positive(raw, "layer_norm_epsilon", whole=False),
            scaled=raw.get("scale_attn_weights", True) is True,
            scaled_by_layer=raw.get("scale_attn_by_inverse_layer_idx", False) is True,
            tied=raw.get("tie_word_embeddings", True) is True,
            **head_fields(raw, "GPT2", _HEADS, head=head),
        )

    def parameters(self, config: Gpt2Config, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        width, inner = config.width, config.inner
        found: dict[str, tuple[Kind, tuple[int, ...]]] = {}
        if not public:
            found["embeddings.table"] = "table", (config.vocab_size + config.positions, width)
        dense = {}
        for i in range(config.layers):
            dense[f"layer.{i}.attention.qkv"] = width, 3 * width
            dense[f"layer.{i}.attention.output"] = width, width
            dense[f"layer.{i}.feedforward.up"] = width, inner
            dense[f"layer.{i}.feedforward.down"] = inner, width
        if config.head:
            dense["head"] = width, outputs(config)
        else:
            found["norm.gain"] = "gain", (width,)
            found["norm.offset"] = "offset", (width,)
        for name, shape in dense.items():
            found[f"{name}.weight"] = "factor", shape
            found[f"{name}.bias"] = "offset", shape[1:]
        return {name: ParameterSpec(shape, kind, fraction_bits) for name, (kind, shape) in found.items()}

    def from_checkpoint(self, config: Gpt2Config, take: Take) -> dict[str, Tensor]:
        width, inner = config.width, config.inner
        words = take("wte.weight", (config.vocab_size, width))
        table = torch.cat([words, take("wpe.weight", (config.positions, width))])
        stream, finer = (
            2.0**config.stream_exponent,
            2.0**config.embedding_exponent,
        )  # a factor of all that writes to the residual stream
        tensors = {"embeddings.table": centred(table) * stream * finer}

        def dense(name: str, rows: int, columns: int) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight", (rows, columns)), take(f"{name}.bias", (columns,))

        def writer(name: str, rows: int) -> tuple[Tensor, Tensor]:
            weight, bias = writing(*dense(name, rows, width))
            return weight * stream, bias * stream

        def norm(name: str) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight", (width,)), take(f"{name}.bias", (width,))

        for i in range(config.layers):
            source, target = f"h.{i}", f"layer.{i}"
            scale = torch.ones(3 * width, dtype=torch.float64)
            scale[:width] = self._query_scale(config, i)
            weight, bias = reading(*norm(f"{source}.ln_1"), *dense(f"{source}.attn.c_attn", width, 3 * width))
            pairs = {
                "attention.qkv": (weight * scale, bias * scale),
                "attention.output": writer(f"{source}.attn.c_proj", width),
                "feedforward.up": reading(*norm(f"{source}.ln_2"), *dense(f"{source}.mlp.c_fc", width, inner)),
                "feedforward.down": writer(f"{source}.mlp.c_proj", inner),
            }
            for name, (weight, bias) in pairs.items():
                tensors[f"{target}.{name}.weight"], tensors[f"{target}.{name}.bias"] = weight, bias
        gain, offset = norm("ln_f")
        if config.head:
            name, count = name_of(config, _HEADS), outputs(config)
            rows = words if has_tied_head(config) else take(f"{name}.weight", (count, width))
            added = take(f"{name}.bias", (count,)) if config.head_bias else None
            tensors["head.weight"], tensors["head.bias"] = reading(gain, offset, rows.T, added)
        else:
            tensors |= {"norm.gain": gain, "norm.offset": offset}
        return tensors

    def example(self, config: Gpt2Config, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inputs:
        words = tensors["embeddings.table"][: config.vocab_size]
        return {"input_ids": example_ids(words, config.positions, raw.get("bos_token_id"))}

    def stream_exponent(self, config: Gpt2Config, norms: Sequence[NormInput], value_bits: int) -> int:
        return stream_range(norms, config.width).exponent(value_bits)

    def with_small_rows(self, config: Gpt2Config, tensors: Mapping[str, Tensor]) -> tuple[Gpt2Config, tuple[int, ...]]:
        table = tensors["embeddings.table"]
        exponent, refused = small_rows(table[: config.vocab_size], [table[config.vocab_size :]], config.stream_epsilon)
        return replace(config, embedding_exponent=exponent), refused

    def with_stream_exponent(self, config: Gpt2Config, exponent: int) -> Gpt2Config:
        check_exponent(exponent)
        return replace(config, stream_exponent=exponent)

    def fitted(self, config: Gpt2Config, stored: Stored) -> Gpt2Config:
        own = has_tied_head(config) and is_own(stored, "lm_head.weight", "wte.weight")
        return replace(config, tied=config.tied and not own)

    def copies(self, config: Gpt2Config) -> Mapping[str, str]:
        return {"lm_head.weight": "wte.weight"} if has_tied_head(config) else {}

    def ignored(self, config: Gpt2Config) -> tuple[str, ...]:
        # Causal masks, which older checkpoints store; they are named within every layer.
        masks = tuple(f"h.{i}.attn.{name}" for i in range(config.layers) for name in ("bias", "masked_bias"))
        return (*masks, *other_heads(config, _HEADS), "multiple_choice_head.")

    def network(self, manifest: Manifest) -> Gpt2:
        return Gpt2(manifest)

    def _query_scale(self, config: Gpt2Config, layer: int) -> float:
        scale = math.log2(math.e)
        if config.scaled:
            scale /= math.sqrt(config.width / config.heads)
        return scale / (layer + 1) if config.scaled_by_layer else scale


GPT2 = Gpt2Architecture()
