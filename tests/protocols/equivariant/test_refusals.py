"""Configurations that are not supported are refused by the name of the field."""

from __future__ import annotations

from typing import Any

import pytest

from secure.models.families.registry import encrypted_family
from secure.protocols.core.errors import CheckpointError, ConfigurationError
from secure.protocols.equivariant import Transform, plan
from tests.protocols.equivariant.tiny import EVERY, KEY

LLAMA, BERT, GPT2, VIT, RESNET = "llama", "bert body", "gpt2", "vit", "resnet basic"

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (LLAMA, {"architectures": ["Gemma3ForCausalLM"]}, "architectures: Gemma3ForCausalLM is not supported"),
    (LLAMA, {"architectures": None}, "architectures: nothing"),
    (LLAMA, {"architectures": ["LlamaForCausalLM", "LlamaModel"]}, "architectures: LlamaForCausalLM, LlamaModel"),
    (LLAMA, {"architectures": "LlamaForCausalLM"}, "architectures"),
    (LLAMA, {"model_type": "mistral"}, "model_type is 'mistral'"),
    (LLAMA, {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config.*encrypt the floating"),
    (LLAMA, {"auto_map": {"AutoModel": "modeling.Own"}}, "auto_map"),
    (LLAMA, {"use_qk_norm": True}, "use_qk_norm"),
    (LLAMA, {"qk_layernorm": True}, "qk_layernorm"),
    (LLAMA, {"rope_parameters": {"rope_type": "spiral"}}, "rope_parameters: rope_type 'spiral'"),
    (LLAMA, {"rope_scaling": {"type": "mrope"}}, "rope_scaling: rope_type 'mrope'"),
    (LLAMA, {"rope_scaling": "linear"}, "rope_scaling is 'linear'"),
    (LLAMA, {"rope_parameters": {"rope_type": ["yarn"]}}, "rope_type"),
    (LLAMA, {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    (LLAMA, {"partial_rotary_factor": 0.25}, "partial_rotary_factor is 0.25"),
    (LLAMA, {"head_dim": 7}, "head_dim is 7"),
    (LLAMA, {"num_key_value_heads": 3}, "num_key_value_heads is 3"),
    (LLAMA, {"hidden_size": None}, "hidden_size is None"),
    (LLAMA, {"hidden_size": -32}, "hidden_size is -32"),
    (LLAMA, {"num_hidden_layers": "two"}, "num_hidden_layers is 'two'"),
    (LLAMA, {"attention_bias": 1}, "attention_bias is 1"),
    (BERT, {"is_decoder": True}, "is_decoder"),
    (BERT, {"add_cross_attention": True}, "add_cross_attention"),
    (BERT, {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
    (BERT, {"num_attention_heads": 5}, "num_attention_heads is 5"),
    (GPT2, {"add_cross_attention": True}, "add_cross_attention"),
    (GPT2, {"n_head": 5}, "n_head is 5"),
    (VIT, {"patch_size": [1, 2, 3]}, "patch_size"),
    (VIT, {"num_attention_heads": 5}, "num_attention_heads is 5"),
    (RESNET, {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    (RESNET, {"layer_type": "wide"}, "layer_type is 'wide'"),
    (RESNET, {"depths": [2]}, "depths has 1"),
    (RESNET, {"hidden_sizes": 8}, "hidden_sizes is 8"),
]

ACCEPTED: list[dict[str, Any]] = [
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    {"rope_scaling": {"type": "su"}},
    {"partial_rotary_factor": 1.0},
    {"quantization_config": None},
    {"sliding_window": 4096},
]


def configuration(name: str) -> dict[str, Any]:
    """config.json of a variant. to_dict leaves out the architecture."""
    variant = EVERY[name]
    return {**variant.build().config.to_dict(), "architectures": [variant.model.__name__]}


def planned(config: dict[str, Any], **options: Any) -> Transform:
    return plan(encrypted_family(config), config, KEY, **options)


@pytest.mark.parametrize(("name", "change", "message"), REFUSED)
def test_refused(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        planned({**configuration(name), **change})


@pytest.mark.parametrize("change", ACCEPTED)
def test_accepted(change: dict[str, Any]) -> None:
    assert planned({**configuration(LLAMA), **change}).family == "llama"


@pytest.mark.parametrize(
    ("name", "factors", "message"),
    [
        (LLAMA, ["residuals"], "unknown factor 'residuals'; did you mean 'residual'"),
        (LLAMA, ["zzz"], "known factors: vocabulary"),
        (LLAMA, ["patches"], "'patches' does not apply to the llama family"),
        (VIT, ["vocabulary"], "'vocabulary' does not apply to the vit family"),
        (LLAMA, [], "no factor is asked for"),
    ],
)
def test_factors_that_do_not_apply_are_refused(name: str, factors: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        planned(configuration(name), factors=factors)
