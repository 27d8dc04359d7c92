"""GPT-2 whose heads weigh values by kinds of their own, and whose layers may lack an activation and norms.

config.json is GPT-2's with another model_type, so that nobody takes it for a GPT-2 by mistake, and the three fields of
`secure.models.layers.plan`, all optional. Tensors are named and shaped as GPT-2's. All kinds can be causal: see
`secure.models.layers.causal`. An affine norm is as an "mpc_vit" has it, and the norm at the end is a layer norm.

The client shares what scaled heads divide by, and where it is secret which tokens of a prompt count, ones and zeros.

B batch, T tokens of this step, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Take
from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.contract.request import Request
from secure.models.families.decoder import Cache, hidden_keys, padded_mask
from secure.models.families.gpt2 import Gpt2, Gpt2Architecture, Gpt2Config
from secure.models.inputs.token_inputs import checked_mask
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.causal import CausalRows, Memory, mixed_causal_attention
from secure.models.layers.folding import scaled_down
from secure.models.layers.mixtures import causal_factors, in_order
from secure.models.layers.plan import (
    NO_ACTIVATION,
    NORMS,
    join_matrices,
    join_parameters,
    parse_plan,
    put_heads_in_order,
    without_activation,
)
from secure.models.layers.prepared import PreparedLayers
from secure.protocols.core.fixedpoint import encode
from secure.protocols.core.primitives import as_factor
from secure.protocols.core.secret import Protocol, Secret, SecretSpec
from secure.protocols.functions.layernorm import rms_normalise

MODEL_TYPE = "mpc_gpt2"
_SOFTMAX = {"softmax"}


@dataclass(frozen=True)
class MpcGpt2Config(Gpt2Config):
    """attention_kinds, activations, norms: as in `secure.models.layers.plan`."""

    attention_kinds: Sequence[Sequence[str]] = ()
    activations: Sequence[str] = ()
    norms: Sequence[Sequence[str]] = ()

    @property
    def weighs(self) -> bool:
        """Whether some heads are of another kind than softmax."""
        return any(set(row) != _SOFTMAX for row in self.attention_kinds)

    @property
    def scales(self) -> bool:
        """Whether some heads are scaled."""
        return any("scale" in row for row in self.attention_kinds)


@dataclass
class MixedCache(Cache):
    """counts: how many tokens the last one of each row saw, [B or 1, 1, 1, 1]. kept, parts: as of `CausalRows`."""

    memory: Memory = field(default_factory=Memory)
    counts: Secret | Tensor | None = None
    kept: Secret | None = None
    parts: Secret | None = None
    goes_on: bool = True


class MpcGpt2(Gpt2):
    """The forward pass over secret tensors."""

    config: MpcGpt2Config

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest, MpcGpt2Config(**manifest.config))

    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        specs, f = super().input_specs(request, step), self.manifest.policy.fraction_bits
        shape = request.batch, request.step_tokens(step)
        if request.masked and step == 0 and self.config.weighs:
            specs["kept"] = SecretSpec(shape, f)
        if self.config.scales:
            specs["parts"] = SecretSpec(shape, f)
        return specs

    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask: integer [B, T]."""
        own = {name: spec for name, spec in specs.items() if name in ("kept", "parts")}
        others = {name: spec for name, spec in specs.items() if name not in own}
        found, policy = super().client_inputs(request, inputs, tables, others, step), self.manifest.policy
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        assert ids is not None
        if step == 0:
            mask = checked_mask(ids, mask)
            counts = mask.cumsum(1).clamp(min=1)
        else:
            counts = torch.full((request.batch, 1), request.tokens) if mask is None else mask.sum(1, keepdim=True)
            counts = counts + step
        if "kept" in own:
            assert mask is not None
            found["kept"] = encode(mask.double(), policy.fraction_bits, bound_bits=1, what="kept")
        if "parts" in own:
            parts = 1 / (math.prod(causal_factors(self.config.positions)) * counts.double())
            found["parts"] = encode(parts, policy.fraction_bits, bound_bits=policy.value_bits, what="parts")
        return found

    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Cache | None = None,
    ) -> tuple[dict[str, Secret], Cache]:
        cache = state or MixedCache(padding=request.padding, goes_on=request.steps > 1)
        assert isinstance(cache, MixedCache)
        with protocol.layer("embeddings"):
            cache.kept = as_factor(_column(inputs["kept"])) if "kept" in inputs else None
            if "parts" in inputs:
                cache.parts = as_factor(_column(inputs["parts"]))
        return super().forward(protocol, weights, request, inputs, cache)

    def decode(self, protocol: Protocol, weights: Mapping[str, Any], embeddings: Secret, cache: Cache) -> Secret:
        assert isinstance(cache, MixedCache)
        layers, x, config = PreparedLayers(protocol, weights, self.config.epsilon), embeddings, self.config
        rows = self._rows(embeddings.shape[1], cache) if config.weighs else None
        for i in range(config.layers):
            name = f"layer.{i}"
            with protocol.layer(name):
                normal = self._normalised(
                    x, config.stream_epsilon if i else config.embedding_epsilon, config.norms[i][0]
                )
                if i == 0:
                    whole, x = x, scaled_down(x, config.embedding_exponent)
                    normal = x if normal is whole else normal
                kinds = config.attention_kinds[i]
                if rows is None or set(kinds) == _SOFTMAX:
                    x = self._attention(name, layers, normal, cache, x)
                else:
                    joined = layers.dense(f"{name}.attention.qkv", normal, wide=True)
                    kinds = [kinds[head] for head in in_order(kinds)]
                    context = mixed_causal_attention(name, joined, kinds, rows, cache.memory)
                    x = layers.dense(f"{name}.attention.output", context, residual=x)
                normal = self._normalised(x, config.stream_epsilon, config.norms[i][1])
                x = self._feedforward(name, layers, normal, config.activations[i], x)
        return x

    def _normalised(self, x: Secret, epsilon: float, norm: str) -> Secret:
        """What the next matrix reads, which absorbed gain and offset of either norm. Shapes: unchanged."""
        return rms_normalise(x, epsilon, wide=True) if norm == NORMS[0] else x

    def _feedforward(
        self, name: str, layers: PreparedLayers, normal: Secret, activation: str, stream: Secret
    ) -> Secret:
        """What the second half of a layer adds to the residual stream, added. Shapes: [B, T, D] twice -> the same."""
        if activation == NO_ACTIVATION:
            return layers.dense(f"{name}.feedforward", normal, residual=stream)
        inner = ACTIVATIONS[activation](layers.dense(f"{name}.feedforward.up", normal, wide=True))
        return layers.dense(f"{name}.feedforward.down", inner, residual=stream)

    def _rows(self, tokens: int, cache: MixedCache) -> CausalRows:
        """What the tokens of this step see."""
        total = cache.tokens + tokens
        if cache.tokens:
            assert cache.counts is not None
            counts: Secret | Tensor = cache.counts + 1.0
        elif cache.kept is not None:
            # A token that does not count sees itself: nothing is divided by zero.
            kept = cache.kept
            counts = kept.map(lambda t: t.cumsum(-2)) - kept + 1.0
        else:
            padding = torch.tensor(cache.padding or (0,)).reshape(-1, 1, 1, 1)
            counts = (torch.arange(1, tokens + 1).reshape(1, 1, -1, 1) - padding).clamp(min=1).double()
        cache.counts = counts[:, :, -1:]
        return CausalRows(
            span=self.config.positions,
            counts=counts,
            new=tokens,
            hidden=hidden_keys(tokens, total, cache.padding),
            mask=None if cache.mask is None else padded_mask(cache.mask, total),
            kept=cache.kept,
            parts=cache.parts,
            goes_on=cache.goes_on,
        )


def _column(row: Secret) -> Secret:
    """Shapes: [B, T] -> [B, 1, T, 1]."""
    return row.reshape(row.shape[0], 1, row.shape[1], 1)


class MpcGpt2Architecture(Gpt2Architecture):
    """Checkpoints of GPT-2's classes with three more fields."""

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> MpcGpt2Config:
        config = super().parse({**raw, "model_type": "gpt2"}, head=head)
        return MpcGpt2Config(**asdict(config), **parse_plan(raw, config.layers, config.heads, config.activation))

    def parameters(self, config: Gpt2Config, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        found = super().parameters(config, fraction_bits, public=public)
        assert isinstance(config, MpcGpt2Config)
        join_parameters(found, without_activation(config.activations), config.width, fraction_bits)
        return found

    def from_checkpoint(self, config: Gpt2Config, take: Take) -> dict[str, Tensor]:
        tensors = super().from_checkpoint(config, take)
        assert isinstance(config, MpcGpt2Config)
        for i, kinds in enumerate(config.attention_kinds):
            put_heads_in_order(tensors, i, kinds, config.positions, causal=True)
            for reader, norm in zip(("attention.qkv", "feedforward.up"), config.norms[i], strict=True):
                if norm != NORMS[0]:
                    # A layer norm takes the stream's factor away.
                    weight = tensors[f"layer.{i}.{reader}.weight"]
                    tensors[f"layer.{i}.{reader}.weight"] = weight * math.ldexp(1.0, -config.stream_exponent)
        join_matrices(tensors, without_activation(config.activations))
        return tensors

    def network(self, manifest: Manifest) -> MpcGpt2:
        return MpcGpt2(manifest)


MPC_GPT2 = MpcGpt2Architecture()
