"""What shapes the computation of LLaMA and its relatives, read from config.json and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from secure.models.contract.config_fields import check_values, flag, positive
from secure.models.families.decoder_heads import DecoderHead, Task, head_fields
from secure.models.families.defaults import with_defaults
from secure.models.layers.activations import check_activation
from secure.models.layers.rope import parse_rope
from secure.protocols.core.errors import CheckpointError

Windows = tuple[int | None, ...]
"""How many tokens a query of each layer sees, itself among them; None where it sees all before it."""

_SIZES = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
}
_NOWHERE = {
    "partial_rotary_factor": 1.0,
    "qk_norm": False,
    "use_qk_norm": False,
    "qk_layernorm": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}


HEADS: Mapping[str, DecoderHead] = {
    "ForCausalLM": DecoderHead("words", "lm_head"),
    "ForSequenceClassification": DecoderHead("sequence", "score"),
    "ForTokenClassification": DecoderHead("token", "score", biased=True),
    "ForQuestionAnswering": DecoderHead("span", "qa_outputs", biased=True),
}
"""By how the names of transformers' classes end."""
WRITERS = ("attention.output", "feedforward.down")
"""The products of a layer that add to the residual stream."""


@dataclass(frozen=True)
class JoinedProduct:
    """A layer's product with matrices side by side: their names in a checkpoint, columns of each, the norm before."""

    rows: int
    columns: tuple[int, ...]
    biased: bool
    names: tuple[str, ...]
    norm: str = ""


@dataclass(frozen=True)
class LlamaConfig:
    """groups: key heads G. frequencies, rotation_scale: see `rotations`. *_bias: which products have one.

    head, task, tied, labels, head_bias, padding_id: see `secure.models.families.decoder_heads`. head_norms: whether
    every attention head's query and key are normalised. stream_exponent: the residual stream is held times 2^that, see
    `secure.models.families.residual_range`. embedding_exponent: what is looked up is held times 2^that more, see
    `secure.models.inputs.small_embeddings`.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    groups: int
    head_width: int
    positions: int
    inner: int
    activation: str
    epsilon: float
    qkv_bias: bool
    output_bias: bool
    feedforward_bias: bool
    windows: Windows
    frequencies: tuple[float, ...]
    rotation_scale: float
    tied: bool
    head: bool
    labels: int = 0
    stream_exponent: int = 0
    head_norms: bool = False
    embedding_exponent: int = 0
    task: Task = "words"
    head_bias: bool = False
    padding_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"windows": list(self.windows), "frequencies": list(self.frequencies)}

    @property
    def stream_epsilon(self) -> float:
        """What norms add to the mean square of the stream as it is held."""
        return math.ldexp(self.epsilon, 2 * self.stream_exponent)

    @property
    def embedding_epsilon(self) -> float:
        """What the first norm adds to the mean square of embeddings as they are looked up."""
        return math.ldexp(self.stream_epsilon, 2 * self.embedding_exponent)

    @property
    def products(self) -> dict[str, JoinedProduct]:
        """The products of one layer, by our names."""
        queries, keys, gated = self.heads * self.head_width, self.groups * self.head_width, (self.inner,) * 2
        heads, ways = tuple(f"self_attn.{x}_proj" for x in "qkv"), ("mlp.gate_proj", "mlp.up_proj")
        output, down = ("self_attn.o_proj",), ("mlp.down_proj",)
        return {
            "attention.qkv": JoinedProduct(
                self.width, (queries, keys, keys), self.qkv_bias, heads, norm="input_layernorm"
            ),
            "attention.output": JoinedProduct(queries, (self.width,), self.output_bias, output),
            "feedforward.gate_up": JoinedProduct(
                self.width, gated, self.feedforward_bias, ways, norm="post_attention_layernorm"
            ),
            "feedforward.down": JoinedProduct(self.inner, (self.width,), self.feedforward_bias, down),
        }


@dataclass(frozen=True)
class LlamaFields:
    """How a family's config.json differs from the others'.

    stem: how the names of transformers' classes begin. only: fields with the one value that is supported where they
    are there at all. *_bias: whether the products have one, or the field that says so. key_heads: whether
    num_key_value_heads may be missing, as it is in the first checkpoints, and is the number of query heads. head_norms:
    whether every head's query and key are normalised before they are turned. head_dim: the width of a head where that
    field is missing; None for hidden_size over num_attention_heads.
    """

    stem: str
    windows: Callable[[Mapping[str, Any], int], Windows]
    only: dict[str, Any]
    qkv_bias: bool | str = False
    output_bias: bool | str = False
    feedforward_bias: bool | str = False
    key_heads: bool = False
    head_norms: bool = False
    head_dim: int | None = None

    def parse(self, raw: Mapping[str, Any], *, head: bool) -> LlamaConfig:
        """Raises CheckpointError naming the first field that is missing or unsupported."""
        raw = with_defaults(raw)
        check_values({name: value for name, value in raw.items() if value is not None}, {}, _NOWHERE | self.only)
        values = {ours: positive(raw, theirs, whole=True) for ours, theirs in _SIZES.items()}
        head_width = _head_width(raw, values["width"], values["heads"], self.head_dim)
        rope = parse_rope(raw, head_width)
        return LlamaConfig(
            **values,
            groups=self._groups(raw, values["heads"]),
            head_width=head_width,
            positions=rope.positions,
            activation=check_activation("hidden_act", raw["hidden_act"]),
            epsilon=positive(raw, "rms_norm_eps", whole=False),
            qkv_bias=_biased(raw, self.qkv_bias),
            output_bias=_biased(raw, self.output_bias),
            feedforward_bias=_biased(raw, self.feedforward_bias),
            windows=self.windows(raw, values["layers"]),
            frequencies=rope.frequencies,
            rotation_scale=rope.scale,
            tied=flag(raw, "tie_word_embeddings", default=False),
            head_norms=self.head_norms,
            **head_fields(raw, self.stem, HEADS, head=head),
        )

    def _groups(self, raw: Mapping[str, Any], heads: int) -> int:
        field = "num_key_value_heads"
        if raw.get(field) is None and (field in raw or self.key_heads):
            return heads
        groups: int = positive(raw, field, whole=True)
        if heads % groups:
            raise CheckpointError(f"config.json: {field} {groups} does not divide num_attention_heads {heads}")
        return groups


def no_window(raw: Mapping[str, Any], layers: int) -> Windows:
    """Every token sees all before it."""
    return (None,) * layers


def one_window(raw: Mapping[str, Any], layers: int) -> Windows:
    """Mistral's: of all layers."""
    return (None if raw["sliding_window"] is None else positive(raw, "sliding_window", whole=True),) * layers


def chosen_windows(raw: Mapping[str, Any], layers: int) -> Windows:
    """Qwen2's: one width, of the layers that layer_types names or, without it, of those from max_window_layers on."""
    window = None
    if flag(raw, "use_sliding_window", default=False) and raw["sliding_window"] is not None:
        window = positive(raw, "sliding_window", whole=True)
    kinds = raw.get("layer_types")
    if kinds is None:
        first = raw.get("max_window_layers") if window else layers
        if type(first) is not int or first < 0:
            raise CheckpointError(f"config.json: max_window_layers is {first!r}; it must be a whole number")
        kinds = ["full_attention" if i < first else "sliding_attention" for i in range(layers)]
    known = ("full_attention", "sliding_attention") if window else ("full_attention",)
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise CheckpointError(
            f"config.json: layer_types is {kinds!r}; supported is one of {', '.join(known)} for each of {layers} "
            "layers, and sliding_attention where use_sliding_window is true"
        )
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _head_width(raw: Mapping[str, Any], width: int, heads: int, default: int | None) -> int:
    if raw.get("head_dim") is not None:
        found: int = positive(raw, "head_dim", whole=True)
    elif default is not None:
        found = default
    elif width % heads:
        raise CheckpointError(f"config.json: hidden_size {width} is no multiple of num_attention_heads {heads}")
    else:
        found = width // heads
    if found % 2:
        raise CheckpointError(f"config.json: head_dim is {found}; rotary positions need an even number")
    return found


def _biased(raw: Mapping[str, Any], bias: bool | str) -> bool:
    return flag(raw, bias, default=False) if isinstance(bias, str) else bias
