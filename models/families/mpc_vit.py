"""MPCViT: a ViT whose heads weigh values by kinds of their own, and whose layers may lack an activation and norms.

config.json is ViT's with another model_type, so that nobody takes it for a ViT by mistake, and three more fields, all
optional: `attention_kinds`, for each layer a list with a kind of `secure.models.layers.mixtures` for each head;
`activations`, for each layer a name as in hidden_act, or none; `norms`, for each layer two names of
`secure.models.families.vit.NORMS`. Tensors are named and shaped as ViT's. Where there is no activation, the two
matrices of a feed-forward layer are one on shares, as in MPCViT+ (Zeng et al., ICCV 2023).

An affine norm is (x - mean) gain + offset along a row x: a layer norm that does not divide. The mean is zero on shares,
as matrices that write to the stream are centred, and the next matrix absorbs gain and offset, so it costs nothing.

D width, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.architecture import Take
from secure.models.contract.manifest import ParameterSpec
from secure.models.families.vit import NO_ACTIVATION, NORMS, VitConfig
from secure.models.families.vit_checkpoint import VitArchitecture
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.mixtures import KINDS, in_order, output_factor, query_factor
from secure.protocols.core.errors import CheckpointError

MODEL_TYPE = "mpc_vit"


class MpcVitArchitecture(VitArchitecture):
    """Checkpoints of ViT's classes with three more fields."""

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> VitConfig:
        config = super().parse({**raw, "model_type": "vit"}, head=head)
        kinds = raw.get("attention_kinds") or [["softmax"] * config.heads] * config.layers
        activations = raw.get("activations") or [config.activation] * config.layers
        norms = raw.get("norms") or [[NORMS[0]] * 2] * config.layers
        _check_rows("attention_kinds", kinds, config.layers, "a list of kinds")
        for number, row in enumerate(kinds):
            _check_rows(f"attention_kinds of layer {number}", row, config.heads, "a kind", of="head")
            _check_names(f"attention_kinds of layer {number}", row, KINDS)
        _check_rows("activations", activations, config.layers, "a name")
        _check_names("activations", activations, [*ACTIVATIONS, NO_ACTIVATION])
        _check_rows("norms", norms, config.layers, "a list of two norms")
        for number, row in enumerate(norms):
            _check_rows(f"norms of layer {number}", row, 2, "a norm", of="of attention and feed-forward layer")
            _check_names(f"norms of layer {number}", row, NORMS)
        return replace(
            config,
            attention_kinds=tuple(map(tuple, kinds)),
            activations=tuple(activations),
            norms=tuple(map(tuple, norms)),
        )

    def parameters(self, config: VitConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        found, width = super().parameters(config, fraction_bits, public=public), config.width
        for name in _without_activation(config):
            for part in ("up", "down"):
                del found[f"{name}.{part}.weight"], found[f"{name}.{part}.bias"]
            found[f"{name}.weight"] = ParameterSpec((width, width), "factor", fraction_bits)
            found[f"{name}.bias"] = ParameterSpec((width,), "offset", fraction_bits)
        return found

    def from_checkpoint(self, config: VitConfig, take: Take) -> dict[str, Tensor]:
        tensors = super().from_checkpoint(config, take)
        for i in range(config.layers):
            _put_heads_in_order(config, i, tensors)
        for name in _without_activation(config):
            up, down = (tensors.pop(f"{name}.{part}.weight") for part in ("up", "down"))
            first, second = (tensors.pop(f"{name}.{part}.bias") for part in ("up", "down"))
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = up @ down, first @ down + second
        return tensors


def _put_heads_in_order(config: VitConfig, layer: int, tensors: dict[str, Tensor]) -> None:
    """Heads of one kind side by side, with what their queries and rows of the output matrix absorb."""
    width, tokens, kinds = config.width, config.images.patches + 1, config.kinds_of_heads(layer)
    each, order = width // config.heads, in_order(kinds)
    columns = torch.cat([torch.arange(head * each, (head + 1) * each) for head in order])
    factors, left = torch.ones(3 * width, dtype=torch.float64), torch.ones(width, dtype=torch.float64)
    for place, head in enumerate(order):
        own = slice(place * each, (place + 1) * each)
        # A ViT's queries absorbed what those of softmax do.
        factors[own] = query_factor(kinds[head], tokens) / math.log2(math.e)
        left[own] = output_factor(kinds[head], tokens)
    name = f"layer.{layer}.attention"
    joined = torch.cat([columns + part * width for part in range(3)])
    tensors[f"{name}.qkv.weight"] = tensors[f"{name}.qkv.weight"][:, joined] * factors
    tensors[f"{name}.qkv.bias"] = tensors[f"{name}.qkv.bias"][joined] * factors
    tensors[f"{name}.output.weight"] = tensors[f"{name}.output.weight"][columns] * left.unsqueeze(1)


def _without_activation(config: VitConfig) -> list[str]:
    """Feed-forward layers that are one matrix."""
    layers = range(config.layers)
    return [f"layer.{i}.feedforward" for i in layers if config.activation_of(i) == NO_ACTIVATION]


def _check_rows(field: str, value: object, due: int, what: str, *, of: str = "layer") -> None:
    """Raises CheckpointError unless value is a list of that many."""
    if not isinstance(value, list) or len(value) != due:
        found = f"a list of {len(value)}" if isinstance(value, list) else f"{value!r}"
        raise CheckpointError(f"config.json: {field} is {found}; it must have {what} for each {of}, that is {due}")


def _check_names(field: str, names: Sequence[object], known: Mapping[str, Any] | Sequence[str]) -> None:
    """Raises CheckpointError for a name that is not known."""
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise CheckpointError(f"config.json: {field} has {name!r}; supported: {', '.join(known)}")


MPC_VIT = MpcVitArchitecture()
