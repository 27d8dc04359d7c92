"""The two programs that every role runs in lockstep: loading a model and predicting with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from models.bert import Bert
from models.config import BertConfig
from models.heads import logits_shape
from models.manifest import TABLE_BITS, Manifest
from protocols.beaver.sharing import open_payload, pack_shares
from protocols.core.errors import InputError
from protocols.core.secret import Protocol, Secret, TensorSpec
from protocols.functions.layernorm import l2_normalise

Output = Literal["hidden", "embedding", "logits"]
_MOST_BATCH = 4096


@dataclass(frozen=True)
class Request:
    """What is public about one prediction: what is wanted, and the input's shape.

    masked: whether an attention mask is shared along. Without one every token counts.
    """

    output: Output
    batch: int
    tokens: int
    masked: bool

    def to_json(self) -> str:
        """For the handshake."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Inverse of `to_json`. Raises InputError for anything else."""
        try:
            value = json.loads(text)
            request = cls(**value)
        except (TypeError, ValueError):
            raise InputError("the request is malformed") from None
        kinds = (
            request.output in get_args(Output),
            type(request.batch) is int,
            type(request.tokens) is int,
            type(request.masked) is bool,
        )
        if not all(kinds):
            raise InputError("the request has a field of the wrong type")
        return request

    def validate(self, manifest: Manifest) -> None:
        """Raises InputError when the model cannot take an input of this shape."""
        config = BertConfig(**manifest.config)
        limit = config.max_position_embeddings
        if self.output == "logits" and config.head == "none":
            raise InputError("this model has no head, hence no logits")
        if not 1 <= self.tokens <= limit:
            raise InputError(f"{self.tokens} tokens; this model takes 1 to {limit}")
        if not 1 <= self.batch <= _MOST_BATCH:
            raise InputError(f"a batch of {self.batch}; 1 to {_MOST_BATCH} is supported")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as one role keeps it between sessions: what the protocol prepared of each parameter."""

    manifest: Manifest
    weights: dict[str, Any] = field(repr=False)


def input_specs(manifest: Manifest, request: Request) -> dict[str, TensorSpec]:
    """What the client shares."""
    config, f = BertConfig(**manifest.config), manifest.policy.fraction_bits
    shape = (request.batch, request.tokens)
    specs = {}
    if manifest.weights == "public":
        specs["embeddings"] = TensorSpec((*shape, config.hidden_size), f)
    else:
        specs["one_hot"] = TensorSpec((*shape, config.table_rows), 0, TABLE_BITS)
    if request.masked:
        specs["mask"] = TensorSpec(shape, f)
    if request.output == "embedding":
        specs["pooling"] = TensorSpec(shape, f)
    return specs


def output_specs(manifest: Manifest, request: Request) -> dict[str, TensorSpec]:
    """What the client gets back."""
    config, f = BertConfig(**manifest.config), manifest.policy.fraction_bits
    width = config.hidden_size
    if request.output == "embedding":
        return {"embedding": TensorSpec((request.batch, width), f)}
    if request.output == "logits":
        return {"logits": TensorSpec(logits_shape(config, request.batch, request.tokens), f)}
    specs = {"last_hidden_state": TensorSpec((request.batch, request.tokens, width), f)}
    if config.pooler:
        specs["pooler_output"] = TensorSpec((request.batch, width), f)
    return specs


def load(protocol: Protocol, manifest: Manifest, shares: Mapping[str, Tensor] | None) -> LoadedModel:
    """Prepare every parameter: factors are opened under a mask, once. The dealer passes no shares."""
    weights = {}
    with protocol.layer("load"):
        for name, spec in sorted(manifest.parameters.items()):
            share = None if shares is None else shares[name].to(torch.int64)
            if manifest.weights == "public":
                weights[name] = protocol.prepare_public(share, spec.shape, spec.fraction_bits, opened=spec.opened)
            else:
                weights[name] = protocol.prepare(
                    share, spec.shape, spec.fraction_bits, bits=spec.bits, opened=spec.opened
                )
    return LoadedModel(manifest, weights)


def forward(
    protocol: Protocol, model: LoadedModel, request: Request, inputs: Mapping[str, Secret]
) -> dict[str, Secret]:
    """The model on secret inputs, named as in `input_specs`; results named as in `output_specs`."""
    bert = Bert(BertConfig(**model.manifest.config), protocol, model.weights)
    with protocol.layer("embeddings"):
        embeddings = inputs["embeddings"] if "embeddings" in inputs else bert.embed(inputs["one_hot"])
    hidden = bert.encode(embeddings, inputs.get("mask"))
    if request.output == "embedding":
        with protocol.layer("pooling"):
            mean = inputs["pooling"].reshape(request.batch, 1, request.tokens) @ hidden
            return {"embedding": l2_normalise(mean.squeeze(1))}
    if request.output == "logits":
        return {"logits": bert.logits(hidden)}
    outputs = {"last_hidden_state": hidden}
    if bert.config.pooler:
        outputs["pooler_output"] = bert.pool(hidden)
    return outputs


def predict(
    protocol: Protocol, model: LoadedModel, request: Request, payload: bytes | memoryview | None, index: int | None
) -> bytes | None:
    """One prediction at one role.

    payload: what the client sent to party `index`; None at the dealer. Returns the payload for the client, at the
    dealer None.
    """
    specs = input_specs(model.manifest, request)
    shares = None if payload is None or index is None else open_payload(index, payload, specs)
    inputs = {
        name: protocol.input(None if shares is None else shares[name], spec.shape, spec.fraction_bits, spec.bits)
        for name, spec in sorted(specs.items())
    }
    outputs = forward(protocol, model, request, inputs)
    with protocol.layer("reveal"):
        revealed = {name: protocol.reveal(secret) for name, secret in sorted(outputs.items())}
    return None if shares is None else pack_shares(revealed, output_specs(model.manifest, request))
