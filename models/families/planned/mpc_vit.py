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
from secure.models.layers.plan import join_matrices, join_parameters, parse_plan, put_heads_in_order, without_activation

MODEL_TYPE = "mpc_vit"


class MpcVitArchitecture(VitArchitecture):
    """Checkpoints of ViT's classes with three more fields."""

    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> VitConfig:
        config = super().parse({**raw, "model_type": "vit"}, head=head)
        return replace(config, **parse_plan(raw, config.layers, config.heads, config.activation))

    def parameters(self, config: VitConfig, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        found = super().parameters(config, fraction_bits, public=public)
        join_parameters(found, _without_activation(config), config.width, fraction_bits)
        return found

    def from_checkpoint(self, config: VitConfig, take: Take) -> dict[str, Tensor]:
        tensors = super().from_checkpoint(config, take)
        for i in range(config.layers):
            put_heads_in_order(tensors, i, config.kinds_of_heads(i), config.images.patches + 1)
        join_matrices(tensors, _without_activation(config))
        return tensors


def _without_activation(config: VitConfig) -> list[str]:
    return without_activation(map(config.activation_of, range(config.layers)))


MPC_VIT = MpcVitArchitecture()
