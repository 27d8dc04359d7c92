"""Decoders in a session: what a client shares and gets, and the program between, with a cache of keys and values.

A session generates: its first step takes the prompts, each later one the token that the client chose for every row.
What attention needs of earlier tokens stays with the parties, opened under masks that were used for it alone: a new
token opens its own keys and values, and its scores, which are as many as there are tokens.

B batch, T tokens of this step, S tokens so far, D width, H query heads, G key heads, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import GENERATED, Output, Request
from secure.models.families.decoder_heads import OUTPUT_CLASSES, Task, last_tokens
from secure.models.inputs.token_inputs import (
    additive_mask,
    check_padded_at_the_start,
    check_range,
    check_served,
    checked_mask,
    one_hot,
    one_hot_spec,
    token_request,
)
from secure.models.layers.attention import mixture
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import encode
from secure.protocols.core.primitives import append, truncate
from secure.protocols.core.secret import Protocol, Secret, SecretSpec, matmul
from secure.protocols.functions.argmax import argmax
from secure.protocols.functions.softmax import MASKED

_OTHER_LAYERS = 3  # beside the decoder's own: embeddings, head, reveal


@dataclass
class Cache:
    """Keys and values by layer, [B, G, S, D/H]. S is all tokens so far, or as many as a window leaves to attend to.

    mask: the prompts' additive one, [B, 1, 1, T], where it is secret; padding: tokens at the start of each row that do
    not count, where that is public. tokens: all that earlier steps took.
    """

    mask: Secret | None = None
    padding: tuple[int, ...] = ()
    keys: dict[str, Secret] = field(default_factory=dict)
    values: dict[str, Secret] = field(default_factory=dict)
    tokens: int = 0


class Decoder(Network):
    """A causal language model, or one with another head, or with none. Each family says what a layer computes."""

    few_rows = True

    # What a family decides.

    @property
    @abstractmethod
    def sizes(self) -> DecoderSizes:
        """The model's sizes."""

    @abstractmethod
    def rows_of_table(self, ids: Tensor, positions: Tensor) -> list[Tensor]:
        """Rows of the embedding table whose sum a token is embedded as. Shapes: integer [B, T] -> [B, T] each."""

    @abstractmethod
    def embed(self, protocol: Protocol, weights: Mapping[str, Any], one_hot: Secret) -> Secret:
        """From one-hot vectors with private weights. Shapes: [B, T, rows] -> [B, T, D]."""

    @abstractmethod
    def decode(self, protocol: Protocol, weights: Mapping[str, Any], embeddings: Secret, cache: Cache) -> Secret:
        """All layers, without the norm at the end. Shapes: [B, T, D] -> the same."""

    @abstractmethod
    def finish(self, protocol: Protocol, weights: Mapping[str, Any], x: Secret, *, head: bool) -> Secret:
        """The norm at the end, and the head as an untruncated product. Shapes: [..., D] -> the same, or [..., L].

        `program.serve` truncates it for the client.
        """

    # Both sides.

    @property
    def layers(self) -> int:
        return self.sizes.layers + _OTHER_LAYERS

    def attended(self, tokens: int | None) -> int:
        return tokens or self.sizes.positions

    @property
    def whole_output(self) -> Output:
        return "logits" if self.sizes.outputs else "hidden"

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {"embeddings.table": (self.sizes.table_rows, self.sizes.width)}

    @property
    def output_class(self) -> str:
        return OUTPUT_CLASSES[self.sizes.task] if self.sizes.outputs else "BaseModelOutput"

    def validate(self, request: Request) -> None:
        request.check_sizes()
        if request.output == "embedding":
            raise InputError("this model is a decoder: it has no sentence embeddings; take hidden states")
        if request.output != "hidden" and not self.sizes.outputs:
            raise InputError("this model has no head, hence no logits")
        if request.output in GENERATED and self.sizes.task != "words":
            raise InputError("this model has the head of another task than words: it does not generate")
        if request.output == "hidden" and self.sizes.outputs:
            # What gives hidden states their gain is part of the head's matrix.
            raise InputError("this model was loaded with its head: it gives logits; load it with head=False")
        if request.output in ("hidden", "logits") and request.steps != 1:
            raise InputError(f"{request.output} of a whole input take one step, not {request.steps}")
        tokens, limit = request.tokens + request.steps - 1, self.sizes.positions
        if tokens > limit:
            more = f" and {request.steps} new ones" if request.steps > 1 else ""
            raise InputError(f"{request.tokens} tokens{more}; this model has room for {limit} together")

    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        f, shape = self.manifest.policy.fraction_bits, (request.batch, request.step_tokens(step))
        specs = {}
        if self.manifest.weights == "public":
            specs["embeddings"] = SecretSpec((*shape, self.sizes.width), f)
        else:
            specs["one_hot"] = one_hot_spec(shape, self.sizes.vocabulary, self.sizes.table_rows)
        if request.masked and step == 0:
            specs["mask"] = SecretSpec(shape, f)
            if self._classifies_sequences:
                specs["last"] = SecretSpec(shape, 0)
        return specs

    def output_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        policy, sizes = self.manifest.policy, self.sizes
        batch, tokens = request.batch, request.step_tokens(step)
        if request.output == "hidden":
            return {"last_hidden_state": SecretSpec((batch, tokens, sizes.width), policy.fraction_bits)}
        if request.output == "next_token":
            return {"token": SecretSpec((batch,), 0, bits=32)}
        one = request.output == "next_logits" or self._classifies_sequences
        shape = (batch, sizes.outputs) if one else (batch, tokens, sizes.outputs)
        return {"logits": SecretSpec(shape, policy.fraction_bits, policy.ring_bits(policy.fraction_bits))}

    # The parties' side.

    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Cache | None = None,
    ) -> tuple[dict[str, Secret], Cache]:
        cache = state or Cache(padding=request.padding)
        with protocol.layer("embeddings"):
            x = inputs["embeddings"] if "embeddings" in inputs else self.embed(protocol, weights, inputs["one_hot"])
            mask = inputs.get("mask")
            if mask is not None:
                # Masked once, in a form that scores can be added to in every layer without being opened again.
                cache.mask = truncate(mask.reshape(mask.shape[0], 1, 1, mask.shape[1]), mask.fraction_bits)
        tokens = x.shape[1]
        x = self.decode(protocol, weights, x, cache)
        cache.tokens += tokens
        with protocol.layer("head"):
            if request.output == "hidden":
                return {"last_hidden_state": self.finish(protocol, weights, x, head=False)}, cache
            if request.output == "logits":
                chosen = _last(x, inputs.get("last")) if self._classifies_sequences else x
                return {"logits": self.finish(protocol, weights, chosen, head=True)}, cache
            logits = self.finish(protocol, weights, x[:, -1], head=True)
            if request.output == "next_logits":
                return {"logits": logits}, cache
            return {"token": argmax(truncate(logits, protocol.policy.fraction_bits))}, cache

    def attend(self, name: str, q: Secret, k: Secret, v: Secret, cache: Cache, *, window: int | None = None) -> Secret:
        """Causal attention over all tokens so far, or the last `window`. q is scaled by log2(e) / sqrt(D/H) already.

        Shapes: [B, H, T, D/H], [B, G, T, D/H] twice -> [B, T, D]. Query head i reads key head i G / H.
        """
        batch, heads, tokens, width = q.shape
        # What is too old for the first query of this step is so for all that follow.
        recent = slice(None) if window is None else slice(-(window + tokens - 1), None)
        k = cache.keys[name] = append(k, cache.keys.get(name), 2)[:, :, recent]
        v = cache.values[name] = append(v, cache.values.get(name), 2)[:, :, recent]
        groups, total = k.shape[1], k.shape[2]
        # The query heads that share a key head are more rows of one product.
        q = q.reshape(batch, groups, heads // groups * tokens, width)
        scores = q @ k.transpose(-1, -2)
        if tokens > 1 or cache.padding:
            hidden = _causal(tokens, total, window) | _padding(cache.padding, cache.tokens + tokens)[..., -total:]
            scores = scores + hidden.to(torch.float64).repeat(1, 1, heads // groups, 1) * MASKED
        if cache.mask is not None:
            scores = scores + padded_mask(cache.mask, cache.tokens + tokens)[..., -total:]
        context = mixture(scores, v)
        return context.reshape(batch, heads, tokens, width).transpose(1, 2).reshape(batch, tokens, heads * width)

    # The client's side.

    def request(self, output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
        request = token_request(output, inputs, steps=steps)
        if not self._classifies_sequences:
            return request
        # Where each row ends is a secret that is shared like a mask, unless all rows are full.
        full = bool((self._last_tokens(inputs) == request.tokens - 1).all())
        return replace(request, masked=request.masked or not full)

    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask: integer [B, T]."""
        self.validate(request)
        if inputs.get("token_type_ids") is not None:
            raise InputError("token_type_ids: this model has no token types; leave them out")
        ids, policy = inputs["input_ids"], self.manifest.policy
        assert ids is not None
        check_range("input_ids", ids, self.sizes.vocabulary)
        mask, positions = self._places(request, inputs, step)
        check_served(ids, mask, self.manifest.refused_ids)
        tensors: dict[str, Tensor] = {}
        for name in specs:
            if name == "one_hot":
                tensors[name] = one_hot(self.rows_of_table(ids, positions), self.sizes.table_rows)
            elif name == "embeddings":
                if not tables:
                    raise InputError("weights are public: the client needs the checkpoint's embedding tables")
                table = tables["embeddings.table"]
                rows = torch.stack([table[row.long()] for row in self.rows_of_table(ids, positions)])
                tensors[name] = encode(
                    rows.sum(0), policy.fraction_bits, bound_bits=policy.value_bits, what="embeddings"
                )
            elif name == "last":
                tensors[name] = one_hot([self._last_tokens(inputs).unsqueeze(1)], request.tokens).squeeze(1)
            else:
                tensors[name] = additive_mask(mask, policy.fraction_bits)
        return tensors

    @property
    def _classifies_sequences(self) -> bool:
        return self.sizes.outputs > 0 and self.sizes.task == "sequence"

    def _last_tokens(self, inputs: Inputs) -> Tensor:
        ids = inputs["input_ids"]
        assert ids is not None
        return last_tokens(ids, checked_mask(ids, inputs.get("attention_mask")), self.sizes.padding_id)

    def _places(self, request: Request, inputs: Inputs, step: int) -> tuple[Tensor, Tensor]:
        """The prompts' mask, and the position of every token of this step.

        In a prompt to go on from it is the number of tokens that count before it, in a whole input its place in the
        row: so do transformers' generate and its models.
        """
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        assert ids is not None
        if step:
            counted = torch.full((request.batch, 1), request.tokens) if mask is None else mask.sum(1, keepdim=True)
            return torch.ones_like(ids), counted + step - 1
        mask = checked_mask(ids, mask)
        if request.output not in GENERATED:
            return mask, torch.arange(ids.shape[1]).expand_as(ids)
        check_padded_at_the_start(mask)
        return mask, (mask.cumsum(1) - 1).clamp(min=0)


@dataclass(frozen=True)
class DecoderSizes:
    """layers, width D, vocabulary V, positions: most tokens; table_rows: of the embedding table.

    outputs: of the head, zero without one; task, padding_id: see `secure.models.families.decoder_heads`.
    """

    layers: int
    width: int
    vocabulary: int
    positions: int
    table_rows: int
    outputs: int
    task: Task
    padding_id: int | None


def _last(x: Secret, chosen: Secret | None) -> Secret:
    """One token of each row: the last one, or the one that one-hot vectors choose. Shapes: [B, T, D], [B, T] -> [B, D].

    Revealed is nothing. Where rows are chosen it is one product.
    """
    if chosen is None:
        return x[:, -1]
    return matmul(chosen.unsqueeze(1), x, fraction_bits=x.fraction_bits).squeeze(1)


def _causal(tokens: int, total: int, window: int | None) -> Tensor:
    """Where a key is later than the query, or too old. Shapes: bool [T, S]."""
    every = torch.ones(tokens, total, dtype=torch.bool)
    hidden = every.triu(total - tokens + 1)
    if window is not None:
        hidden |= every.tril(total - tokens - window)
    return hidden


def _padding(counts: tuple[int, ...], total: int) -> Tensor:
    """Where a key is public padding. Shapes: bool [B, 1, 1, S], B being 1 where there is none."""
    return (torch.arange(total) < torch.tensor(counts or (0,)).unsqueeze(1))[:, None, None]


def hidden_keys(tokens: int, total: int, padding: tuple[int, ...]) -> Tensor | None:
    """Where a key is later than the query or public padding; None where none is. Shapes: bool [B or 1, 1, T, S]."""
    return _causal(tokens, total, None) | _padding(padding, total) if tokens > 1 or padding else None


def padded_mask(mask: Secret, total: int) -> Secret:
    """The prompts' mask with zeros for what was generated since. Shapes: [B, 1, 1, S'] -> [B, 1, 1, S]."""
    missing = total - mask.shape[-1]
    return mask.map(lambda t: torch.nn.functional.pad(t, (0, missing))) if missing else mask
