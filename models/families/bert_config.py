"""What shapes the computation of BERT and its kin, read from config.json and checked: one frozen value for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from secure.models.contract.config_fields import check_values, positive
from secure.models.families.defaults import with_defaults
from secure.models.layers.folding import MOST_WIDTH
from secure.models.layers.plan import NORMS
from secure.protocols.core.errors import CheckpointError

Head = Literal["none", "sequence_tanh", "sequence_relu", "token", "span", "masked_lm"]
"""What follows the encoder. A sequence is classified by its first token, after a dense layer and the function named."""

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_PLAN = ("attention_kinds", "activations", "norms")
_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}


@dataclass(frozen=True)
class BertFields:
    """How a family's config.json differs from ours.

    required: values that must be there. only: the one value that is supported where the field is there at all.
    renamed: its names for our fields. fixed: our fields that it has none for. padded_positions: positions count the
    tokens that are no padding, from the padding token's id + 1 on, so that the rows up to that id are never used.
    """

    required: Mapping[str, Any]
    only: Mapping[str, Any] = field(default_factory=lambda: _ONLY)
    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    padded_positions: bool = False


ACTIVATION = "gelu"
BERT_FIELDS = BertFields(required={"hidden_act": ACTIVATION})


@dataclass(frozen=True)
class BertConfig:
    """An encoder and its head.

    max_position_embeddings: most tokens. type_vocab_size: zero where there are no token types. labels: of a classifier.
    padding_id: the token that may follow an input and never be part of it; None where every token may.
    embedding_exponent: what is looked up is held times 2^that, see `secure.models.inputs.small_embeddings`.
    own: names of the tensors of a head for masked words that are tied to no other ones. attention_kinds, activations,
    norms: as in `secure.models.layers.plan`; empty for softmax, GeLU and layer norms.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pooler: bool = True
    head: Head = "none"
    labels: int = 0
    padding_id: int | None = None
    embedding_exponent: int = 0
    own: tuple[str, ...] = ()
    attention_kinds: Sequence[Sequence[str]] = ()
    activations: Sequence[str] = ()
    norms: Sequence[Sequence[str]] = ()

    def kinds_of_heads(self, layer: int) -> Sequence[str]:
        """Their names, head by head, as the checkpoint has them."""
        return self.attention_kinds[layer] if self.attention_kinds else ("softmax",) * self.num_attention_heads

    def activation_of(self, layer: int) -> str:
        """A name of ACTIVATIONS, or NO_ACTIVATION."""
        return self.activations[layer] if self.activations else ACTIVATION

    def norms_of(self, layer: int) -> Sequence[str]:
        """Two names of NORMS: after attention, and after the feed-forward layer."""
        return self.norms[layer] if self.norms else NORMS[:1] * 2

    @property
    def layers(self) -> int:
        """How many there are."""
        return self.num_hidden_layers

    @property
    def weighs(self) -> bool:
        """Whether some heads need to be told which tokens count by more than a mask that is added."""
        return any(set(row) != {"softmax"} for row in self.attention_kinds)

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any], fields: BertFields = BERT_FIELDS) -> BertConfig:
        """The encoder, without a head. Raises CheckpointError naming the first field that is missing or unsupported."""
        config = with_defaults(config)
        check_values(config, fields.required, fields.only)
        values = dict(fields.fixed)
        for name in (*_SIZES, "layer_norm_eps"):
            if name not in values:
                values[name] = positive(config, fields.renamed.get(name, name), whole=name in _SIZES)
        if fields.padded_positions:
            values["padding_id"] = _padding(config, values["vocab_size"])
            values["max_position_embeddings"] -= values["padding_id"] + 1
            if values["max_position_embeddings"] < 1:
                raise CheckpointError(
                    f"config.json: max_position_embeddings is {config['max_position_embeddings']}; "
                    "none is left beyond pad_token_id"
                )
        width, heads = (fields.renamed.get(name, name) for name in ("hidden_size", "num_attention_heads"))
        if values["hidden_size"] % values["num_attention_heads"]:
            raise CheckpointError(
                f"config.json: {width} {values['hidden_size']} is no multiple of {heads} "
                f"{values['num_attention_heads']}"
            )
        if values["hidden_size"] > MOST_WIDTH:
            raise CheckpointError(f"config.json: {width} {values['hidden_size']}; at most {MOST_WIDTH} is supported")
        return cls(**values)

    @property
    def table_rows(self) -> int:
        """Rows of the table that is looked up: words, then token types."""
        return self.vocab_size + self.type_vocab_size

    @property
    def skipped_positions(self) -> int:
        """Rows of the checkpoint's position table before the one of the first token."""
        return 0 if self.padding_id is None else self.padding_id + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest. A model without a plan says nothing of one, as before there were any."""
        values = asdict(self) | {"own": list(self.own)}
        return {name: value for name, value in values.items() if value or name not in _PLAN}


def _padding(config: Mapping[str, Any], vocabulary: int) -> int:
    value = config.get("pad_token_id")
    if type(value) is not int or not 0 <= value < vocabulary:
        raise CheckpointError(f"config.json: pad_token_id is {value!r}; it must be one of the {vocabulary} words")
    return value
