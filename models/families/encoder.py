"""BERT and its kin in a session: what a client shares and gets, and the program between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import GENERATED, Output, Request
from secure.models.families.bert import Bert
from secure.models.families.bert_config import BertConfig, Head
from secure.models.families.heads import logits_shape
from secure.models.inputs.token_inputs import (
    additive_mask,
    check_like,
    check_range,
    check_served,
    checked_mask,
    one_hot,
    one_hot_spec,
    token_request,
)
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import encode
from secure.protocols.core.secret import Protocol, Secret, SecretSpec
from secure.protocols.functions.layernorm import l2_normalise

_OTHER_LAYERS = 4  # beside the encoder's own: embeddings twice, pooling or head, reveal
_EXAMPLE_TOKENS = 16
_STRIDE = 7919  # a prime, so that words come from all of the vocabulary
_OUTPUT_CLASSES: dict[Head, str] = {
    "none": "BaseModelOutputWithPooling",
    "sequence_tanh": "SequenceClassifierOutput",
    "sequence_relu": "SequenceClassifierOutput",
    "token": "TokenClassifierOutput",
    "span": "QuestionAnsweringModelOutput",
    "masked_lm": "MaskedLMOutput",
}


class Encoder(Network):
    """An encoder, maybe with a head."""

    def __init__(self, manifest: Manifest, *, pools: bool) -> None:
        """pools: whether the family has a pooler at all."""
        super().__init__(manifest)
        self.config = BertConfig(**manifest.config)
        self._pools = pools

    @property
    def layers(self) -> int:
        return self.config.num_hidden_layers + _OTHER_LAYERS

    def attended(self, tokens: int | None) -> int:
        return tokens or self.config.max_position_embeddings

    @property
    def whole_output(self) -> Output:
        return "hidden" if self.config.head == "none" else "logits"

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        config = self.config
        return {
            "embeddings.table": (config.table_rows, config.hidden_size),
            "embeddings.positions": (config.max_position_embeddings, config.hidden_size),
        }

    @property
    def output_class(self) -> str:
        return _OUTPUT_CLASSES[self.config.head] if self._pools or self.config.head != "none" else "BaseModelOutput"

    def validate(self, request: Request) -> None:
        request.check_sizes()
        if request.output == "logits" and self.config.head == "none":
            raise InputError("this model has no head, hence no logits")
        if request.output in GENERATED or request.steps != 1 or request.padding:
            raise InputError("this model is an encoder: it does not generate")
        limit = self.config.max_position_embeddings
        if request.tokens > limit:
            raise InputError(f"{request.tokens} tokens; this model takes 1 to {limit}")

    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        f, shape = self.manifest.policy.fraction_bits, (request.batch, request.tokens)
        specs = {}
        if self.manifest.weights == "public":
            specs["embeddings"] = SecretSpec((*shape, self.config.hidden_size), f)
        else:
            specs["one_hot"] = one_hot_spec(shape, self.config.vocab_size, self.config.table_rows)
        if request.masked:
            specs["mask"] = SecretSpec(shape, f)
            if self.config.weighs:
                specs["kept"] = specs["parts"] = SecretSpec(shape, f)
        if request.output == "embedding":
            specs["pooling"] = SecretSpec(shape, f)
        return specs

    def output_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        config, f = self.config, self.manifest.policy.fraction_bits
        width = config.hidden_size
        if request.output == "embedding":
            return {"embedding": SecretSpec((request.batch, width), f)}
        if request.output == "logits":
            return {"logits": SecretSpec(logits_shape(config, request.batch, request.tokens), f)}
        specs = {"last_hidden_state": SecretSpec((request.batch, request.tokens, width), f)}
        if config.pooler:
            specs["pooler_output"] = SecretSpec((request.batch, width), f)
        return specs

    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Any = None,
    ) -> tuple[dict[str, Secret], Any]:
        bert = Bert(self.config, protocol, weights)
        with protocol.layer("embeddings"):
            embeddings = inputs["embeddings"] if "embeddings" in inputs else bert.embed(inputs["one_hot"])
        hidden = bert.encode(embeddings, *(inputs.get(name) for name in ("mask", "kept", "parts")))
        if request.output == "embedding":
            with protocol.layer("pooling"):
                mean = inputs["pooling"].reshape(request.batch, 1, request.tokens) @ hidden
                return {"embedding": l2_normalise(mean.squeeze(1))}, None
        if request.output == "logits":
            return {"logits": bert.logits(hidden)}, None
        outputs = {"last_hidden_state": hidden}
        if self.config.pooler:
            outputs["pooler_output"] = bert.pool(hidden)
        return outputs, None

    def request(self, output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
        return token_request(output, inputs, steps=steps)

    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask, token_type_ids: integer [B, T]."""
        self.validate(request)
        ids, types = inputs["input_ids"], inputs.get("token_type_ids")
        assert ids is not None
        config, policy = self.config, self.manifest.policy
        check_range("input_ids", ids, config.vocab_size)
        if types is not None and not config.type_vocab_size:
            raise InputError("token_type_ids: this model has no token types; leave them out")
        types = torch.zeros_like(ids) if types is None else types
        check_like("token_type_ids", types, ids, config.type_vocab_size or 1)
        mask = checked_mask(ids, inputs.get("attention_mask"))
        if config.padding_id is not None:
            _check_padding(config.padding_id, ids, mask)
        check_served(ids, mask, self.manifest.refused_ids)
        tensors: dict[str, Tensor] = {}
        for name in specs:
            if name == "one_hot":
                indices = [ids, *([types + config.vocab_size] if config.type_vocab_size else [])]
                tensors[name] = one_hot(indices, config.table_rows)
            elif name == "embeddings":
                if not tables:
                    raise InputError("weights are public: the client needs the checkpoint's embedding tables")
                summed = _look_up(config, tables, ids, types)
                tensors[name] = encode(summed, policy.fraction_bits, bound_bits=policy.value_bits, what="embeddings")
            elif name == "mask":
                tensors[name] = additive_mask(mask, policy.fraction_bits)
            elif name == "kept":
                tensors[name] = encode(mask.double(), policy.fraction_bits, bound_bits=1, what=name)
            elif name == "parts":
                parts = mask * (config.max_position_embeddings / mask.sum(1, keepdim=True))
                tensors[name] = encode(parts, policy.fraction_bits, bound_bits=policy.value_bits, what=name)
            else:
                weights = mask / mask.sum(1, keepdim=True)
                tensors[name] = encode(weights, policy.fraction_bits, bound_bits=1, what=name)
        return tensors


def example_of_words(config: BertConfig) -> dict[str, Tensor]:
    """Two short texts with words from all of the vocabulary, the second one padded at its end: for a rehearsal."""
    tokens = min(_EXAMPLE_TOKENS, config.max_position_embeddings)
    ids = torch.arange(1, 2 * tokens + 1).mul(_STRIDE).remainder(config.vocab_size).reshape(2, tokens)
    if config.padding_id is not None:
        ids[ids == config.padding_id] = (config.padding_id + 1) % config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _check_padding(padding_id: int, input_ids: Tensor, mask: Tensor) -> None:
    """RoBERTa counts positions over tokens that are no padding: ours agree when padding follows all that count."""
    counted_from_here = mask.flip(1).cumsum(1).flip(1) > 0
    wrong = ((input_ids == padding_id) & counted_from_here).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"input_ids[{row}, {column}] is padding ({padding_id}), and attention_mask counts it or a later token; "
            "pad at the end"
        )


def _look_up(config: BertConfig, tables: Mapping[str, Tensor], input_ids: Tensor, types: Tensor) -> Tensor:
    table, positions = tables["embeddings.table"], tables["embeddings.positions"]
    rows = table[input_ids.long()]
    if config.type_vocab_size:
        rows = rows + table[types.long() + config.vocab_size]
    return (rows + positions[: input_ids.shape[1]]).to(torch.float64)
