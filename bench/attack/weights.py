"""A LLaMA's weights as the formulas have them: float64, row vectors y = xW, each gain folded into what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Layer:
    """Shapes: query [d, H·d_h], key and value [d, K·d_h], output [H·d_h, d], gate and up [d, f], down [f, d]."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Weights:
    """Shapes: embedding [V, d], head [d, V]; both None where the client keeps them."""

    embedding: Tensor | None
    head: Tensor | None
    layers: tuple[Layer, ...]


def fold(state: Mapping[str, Tensor], layers: int, split: bool = False) -> Weights:
    """From the tensors of a checkpoint; whoever has it can do this."""

    def weight(name: str, gain: str | None = None) -> Tensor:
        matrix = state[f"{name}.weight"].double().T
        return matrix if gain is None else state[f"{gain}.weight"].double()[:, None] * matrix

    def layer(prefix: str) -> Layer:
        before, after = f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"
        return Layer(
            *(weight(f"{prefix}.self_attn.{name}_proj", before) for name in "qkv"),
            weight(f"{prefix}.self_attn.o_proj"),
            weight(f"{prefix}.mlp.gate_proj", after),
            weight(f"{prefix}.mlp.up_proj", after),
            weight(f"{prefix}.mlp.down_proj"),
        )

    return Weights(
        None if split else state["model.embed_tokens.weight"].double(),
        None if split else weight("lm_head", "model.norm"),
        tuple(layer(f"model.layers.{index}") for index in range(layers)),
    )


def network(config: LlamaConfig, state: Mapping[str, Tensor]) -> LlamaForCausalLM:
    """The model that these tensors make, in float32, with attention maps at hand."""
    config = LlamaConfig.from_dict(config.to_dict() | {"tie_word_embeddings": False})
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model.eval().requires_grad_(False)


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Its tensors, apart from the module."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}
