"""BERT and its kin: one computation, under the names and fields of each family's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from secure.models.contract.architecture import Architecture, Stored, Take
from secure.models.contract.config_fields import flag
from secure.models.contract.labels import parse_labels
from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.families import bert, heads
from secure.models.families.bert import BERT_NAMES, Names
from secure.models.families.bert_config import ACTIVATION, BERT_FIELDS, BertConfig, BertFields
from secure.models.families.encoder import Encoder, example_of_words
from secure.models.families.heads import WORDS, HeadNames, is_own
from secure.models.inputs.small_embeddings import LEAST_SUM, small_rows
from secure.models.layers.plan import parse_plan
from secure.protocols.core.errors import CheckpointError

_CLASSIFIERS = ("sequence_tanh", "sequence_relu", "token")


@dataclass(frozen=True)
class BertKin(Architecture):
    """A family that computes what BERT does.

    stem: how the names of transformers' classes begin. heads: by how they go on. others: beginnings of the names of
    other tasks' heads, and of buffers that newer versions recompute. Those that a model has no use for are left alone,
    as transformers does; any other name is an error. plans: whether config.json may have the fields of
    `secure.models.layers.plan`.
    """

    stem: str
    heads: Mapping[str, HeadNames]
    body: str
    others: tuple[str, ...]
    fields: BertFields = BERT_FIELDS
    names: Names = field(default=BERT_NAMES)
    pools: bool = True
    plans: bool = False

    @property
    def prefixes(self) -> tuple[str, ...]:
        return (self.body,)

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> BertConfig:
        if self.plans:
            raw = {**raw, "model_type": "bert"}
        parsed = BertConfig.from_hugging_face(raw, self.fields)
        if self.plans:
            plan = parse_plan(raw, parsed.num_hidden_layers, parsed.num_attention_heads, ACTIVATION)
            parsed = replace(parsed, **plan)
        names = self._head_of(raw) if head else HeadNames("none")
        kind, tied = names.head, flag(raw, "tie_word_embeddings", default=True)
        labels = len(parse_labels(raw)) if kind in _CLASSIFIERS else 0
        own = () if tied else tuple(names.copies)
        return replace(parsed, pooler=self.pools and kind == "none", head=kind, labels=labels, own=own)

    def fitted(self, config: BertConfig, stored: Stored) -> BertConfig:
        own = tuple(copy for copy, original in self.copies(config).items() if is_own(stored, copy, original))
        pooler = config.pooler and "pooler.dense.weight" in stored
        return replace(config, pooler=pooler, own=config.own + own)

    def parameters(self, config: BertConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        return bert.parameters(config, fraction_bits, public=public)

    def from_checkpoint(self, config: BertConfig, take: Take) -> dict[str, Tensor]:
        words = take(WORDS, (config.vocab_size, config.hidden_size))
        tensors = bert.from_checkpoint(config, self.names, take, words)
        return tensors | heads.from_checkpoint(config, self._head_names(config), take, words)

    def example(self, config: BertConfig, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inputs:
        return example_of_words(config)

    def with_small_rows(self, config: BertConfig, tensors: Mapping[str, Tensor]) -> tuple[BertConfig, tuple[int, ...]]:
        table = tensors["embeddings.table"]
        types = [table[config.vocab_size :]] if config.type_vocab_size else []
        added = [tensors["embeddings.positions"], *types]
        words = table[: config.vocab_size]
        exponent, refused = small_rows(words, added, config.layer_norm_eps, least=LEAST_SUM)
        return replace(config, embedding_exponent=exponent), refused

    def copies(self, config: BertConfig) -> Mapping[str, str]:
        copies = self._head_names(config).copies
        return {copy: original for copy, original in copies.items() if copy not in config.own}

    def ignored(self, config: BertConfig) -> tuple[str, ...]:
        names = self._head_names(config)
        used = (*names.all, *(["pooler"] if config.pooler else []))
        unused = [original for copy, original in names.copies.items() if copy in config.own and original != WORDS]
        others = (other for other in self.others if not any(f"{name}.".startswith(other) for name in used))
        return (*others, *unused)

    def network(self, manifest: Manifest) -> Encoder:
        return Encoder(manifest, pools=self.pools)

    def _head_names(self, config: BertConfig) -> HeadNames:
        """What the checkpoint calls the head's tensors."""
        return next(names for names in self.heads.values() if names.head == config.head)

    def _head_of(self, config: Mapping[str, Any]) -> HeadNames:
        named = config.get("architectures") or [f"{self.stem}Model"]
        known = {f"{self.stem}{rest}": names for rest, names in self.heads.items()}
        if not isinstance(named, list) or len(named) != 1 or named[0] not in known:
            raise CheckpointError(
                f"config.json: architectures is {named!r}; supported: {', '.join(known)}. "
                "With head=False the encoder alone is loaded"
            )
        return known[named[0]]


BERT = BertKin(
    stem="Bert",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_tanh", dense="pooler.dense", output="classifier"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForQuestionAnswering": HeadNames("span", output="qa_outputs"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="cls.predictions.transform.dense",
            norm="cls.predictions.transform.LayerNorm",
            decoder="cls.predictions.decoder",
            decoder_bias="cls.predictions.bias",
        ),
    },
    body="bert.",
    others=(
        "pooler.",
        "cls.predictions.",
        "cls.seq_relationship.",
        "classifier.",
        "qa_outputs.",
        "embeddings.position_ids",
    ),
)

MPC_BERT = replace(BERT, plans=True)

ROBERTA = BertKin(
    stem="Roberta",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_tanh", dense="classifier.dense", output="classifier.out_proj"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForQuestionAnswering": HeadNames("span", output="qa_outputs"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="lm_head.dense",
            norm="lm_head.layer_norm",
            decoder="lm_head.decoder",
            decoder_bias="lm_head.bias",
        ),
    },
    body="roberta.",
    others=("pooler.", "lm_head.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
    fields=replace(BERT_FIELDS, padded_positions=True),
)

DISTILBERT = BertKin(
    stem="DistilBert",
    heads={
        "Model": HeadNames("none"),
        "ForSequenceClassification": HeadNames("sequence_relu", dense="pre_classifier", output="classifier"),
        "ForTokenClassification": HeadNames("token", output="classifier"),
        "ForQuestionAnswering": HeadNames("span", output="qa_outputs"),
        "ForMaskedLM": HeadNames(
            "masked_lm",
            dense="vocab_transform",
            norm="vocab_layer_norm",
            decoder="vocab_projector",
            decoder_bias="vocab_projector.bias",
        ),
    },
    body="distilbert.",
    others=(
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "pre_classifier.",
        "classifier.",
        "qa_outputs.",
        "embeddings.position_ids",
    ),
    fields=BertFields(
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
