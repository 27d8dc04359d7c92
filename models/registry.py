"""The architectures that we serve. One that computes what another does, under other names, costs a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from models import bert, heads
from models.bert import BERT_NAMES, Names
from models.config import BERT_FIELDS, BertConfig, Fields
from models.heads import WORDS, HeadNames
from models.labels import parse_labels
from models.manifest import ParameterSpec
from protocols.core.errors import CheckpointError

_CLASSIFIERS = ("sequence_tanh", "sequence_relu", "token")


@dataclass(frozen=True)
class Architecture:
    """How a Hugging Face checkpoint becomes the tensors of a secure model.

    stem: how the names of transformers' classes begin. heads: by how they go on. prefix: of the encoder's tensors in a
    checkpoint with a head. others: beginnings of the names of other tasks' heads, and of buffers that newer versions
    recompute. Those that a model has no use for are left alone, as transformers does; any other name is an error.
    """

    stem: str
    heads: Mapping[str, HeadNames]
    prefix: str
    others: tuple[str, ...]
    fields: Fields = BERT_FIELDS
    names: Names = field(default=BERT_NAMES)
    pools: bool = True

    def parse(self, config: Mapping[str, Any], *, head: bool = True) -> BertConfig:
        """head: whether the model gets the head that `architectures` names. Raises CheckpointError naming a field."""
        parsed = BertConfig.from_hugging_face(config, self.fields)
        kind = self._head_of(config).head if head else "none"
        if kind == "masked_lm" and config.get("tie_word_embeddings", True) is not True:
            raise CheckpointError(
                f"config.json: tie_word_embeddings is {config['tie_word_embeddings']!r}; supported is True"
            )
        labels = len(parse_labels(config)) if kind in _CLASSIFIERS else 0
        return replace(parsed, pooler=self.pools and kind == "none", head=kind, labels=labels)

    def parameters(self, config: BertConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        """Every tensor of the secure model."""
        return bert.parameters(config, fraction_bits, public=public)

    def from_checkpoint(self, config: BertConfig, take: Callable[[str, tuple[int, ...]], Tensor]) -> dict[str, Tensor]:
        """Those tensors in float64. `take(name, shape)` hands out each tensor of the checkpoint once."""
        tensors = bert.from_checkpoint(config, self.names, take)
        words = tensors["embeddings.table"][: config.vocab_size]
        return tensors | heads.from_checkpoint(config, self.head_names(config), take, words)

    def head_names(self, config: BertConfig) -> HeadNames:
        """What the checkpoint calls the head's tensors."""
        return next(names for names in self.heads.values() if names.head == config.head)

    def ignored(self, config: BertConfig) -> tuple[str, ...]:
        """Beginnings of the names that this model has no use for."""
        used = (*self.head_names(config).all, *(["pooler"] if config.pooler else []))
        return tuple(other for other in self.others if not any(f"{name}.".startswith(other) for name in used))

    def _head_of(self, config: Mapping[str, Any]) -> HeadNames:
        named = config.get("architectures") or [f"{self.stem}Model"]
        known = {f"{self.stem}{rest}": names for rest, names in self.heads.items()}
        if not isinstance(named, list) or len(named) != 1 or named[0] not in known:
            raise CheckpointError(
                f"config.json: architectures is {named!r}; supported: {', '.join(known)}. "
                "With head=False the encoder alone is loaded"
            )
        return known[named[0]]


BERT = Architecture(
    stem="Bert",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_tanh", dense="pooler.dense", output="classifier"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="cls.predictions.transform.dense",
            norm="cls.predictions.transform.LayerNorm",
            decoder_bias="cls.predictions.bias",
            copies={
                "cls.predictions.decoder.weight": WORDS,
                "cls.predictions.decoder.bias": "cls.predictions.bias",
            },
        ),
    },
    prefix="bert.",
    others=(
        "pooler.",
        "cls.predictions.",
        "cls.seq_relationship.",
        "classifier.",
        "qa_outputs.",
        "embeddings.position_ids",
    ),
)

ROBERTA = Architecture(
    stem="Roberta",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_tanh", dense="classifier.dense", output="classifier.out_proj"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="lm_head.dense",
            norm="lm_head.layer_norm",
            decoder_bias="lm_head.bias",
            copies={"lm_head.decoder.weight": WORDS, "lm_head.decoder.bias": "lm_head.bias"},
        ),
    },
    prefix="roberta.",
    others=("pooler.", "lm_head.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
    fields=replace(BERT_FIELDS, padded_positions=True),
)

DISTILBERT = Architecture(
    stem="DistilBert",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_relu", dense="pre_classifier", output="classifier"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="vocab_transform",
            norm="vocab_layer_norm",
            decoder_bias="vocab_projector.bias",
            copies={"vocab_projector.weight": WORDS},
        ),
    },
    prefix="distilbert.",
    others=(
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "pre_classifier.",
        "classifier.",
        "qa_outputs.",
        "embeddings.position_ids",
    ),
    fields=Fields(
        required={"activation": "gelu"},
        only={**BERT_FIELDS.only, "sinusoidal_pos_embds": False},
        renamed={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
        },
        fixed={"type_vocab_size": 0, "layer_norm_eps": 1e-12},
    ),
    names=Names(
        layer="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        feedforward_norm="output_layer_norm",
    ),
    pools=False,
)

ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "camembert": replace(ROBERTA, stem="Camembert"),
    "distilbert": DISTILBERT,
    "roberta": ROBERTA,
    "xlm-roberta": replace(ROBERTA, stem="XLMRoberta"),
}


def architecture(model_type: object) -> Architecture:
    """Raises CheckpointError for a model type that has no row."""
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"config.json: model_type is {model_type!r}; supported: {known}")
    return ARCHITECTURES[model_type]
