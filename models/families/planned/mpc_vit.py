"""MPCViT: a ViT whose heads weigh values by kinds of their own, and whose layers may lack an activation and norms.

config.json is ViT's with another model_type, so that nobody takes it for a ViT by mistake, and the three fields of
`secure.models.layers.plan`, all optional. Tensors are named and shaped as ViT's. Where there is no activation, the two
matrices of a feed-forward layer are one on shares, as in MPCViT+ (Zeng et al., ICCV 2023).

An affine norm is (x - mean) gain + offset along a row x: a layer norm that does not divide. The mean is zero on shares,
as matrices that write to the stream are centred, and the next matrix absorbs gain and offset, so it costs nothing.

D width, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from secure.models.contract.architecture import Take
from secure.models.contract.manifest import ParameterSpec
from secure.models.families.vit import VitConfig
from secure.models.families.vit_checkpoint import VitArchitecture
from secure.models.layers.plan import NO_ACTIVATION, ordered_heads, parse_plan

MODEL_TYPE = "mpc_vit"


class MpcVitArchitecture(VitArchitecture):
    """Checkpoints of ViT's classes with three more fields."""

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> VitConfig:
        config = super().parse({**raw, "model_type": "vit"}, head=head)
        return replace(config, **parse_plan(raw, config.layers, config.heads, config.activation))

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
    """Heads of one kind side by side, see `ordered_heads`."""
    name, tokens = f"layer.{layer}.attention", config.images.patches + 1
    pair, output = (tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"]), tensors[f"{name}.output.weight"]
    joined, output = ordered_heads(config.kinds_of_heads(layer), tokens, pair, output)
    tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"] = joined
    tensors[f"{name}.output.weight"] = output


def _without_activation(config: VitConfig) -> list[str]:
    """Feed-forward layers that are one matrix."""
    layers = range(config.layers)
    return [f"layer.{i}.feedforward" for i in layers if config.activation_of(i) == NO_ACTIVATION]


MPC_VIT = MpcVitArchitecture()
