"""Every field of the configurations of LLaMA, Mistral, Qwen2 and Qwen3 is used, irrelevant or refused by its name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from secure.models.families.registry import architecture
from secure.models.layers.rope import parse_rope
from secure.protocols.core.errors import CheckpointError
from secure.protocols.functions.rotary import rotations
from tests.models.decoders import LLAMA_KIN

FAMILIES = tuple(LLAMA_KIN)
STEMS = {family: family.title() for family in FAMILIES}


def raw_config(family: str, **changes: Any) -> dict[str, Any]:
    """What transformers writes into config.json."""
    config = AutoConfig.for_model(family, **LLAMA_KIN[family])
    config.architectures = [f"{STEMS[family]}ForCausalLM"]
    stored: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return stored | changes


# Fields that change what is computed, with another value that we accept.
USED: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "hidden_act": "gelu",
    "max_position_embeddings": 50,
    "rms_norm_eps": 1e-4,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0},
    "architectures": None,  # by family
}
OF_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": 5},
    "qwen2": {"use_sliding_window": True, "layer_types": None},
    "qwen3": {"attention_bias": True, "use_sliding_window": True, "layer_types": None},
}
WINDOWED = ("qwen2", "qwen3")
# What it means: training, tokens that a client knows of, how transformers returns results or keeps tensors.
IRRELEVANT: dict[str, Any] = {
    "initializer_range": 0.5,  # training
    "attention_dropout": 0.5,  # training
    "problem_type": "regression",  # training
    "pretraining_tp": 2,  # an order of summation
    "use_cache": False,  # the session's steps decide
    "pad_token_id": 3,  # the client's
    "bos_token_id": 3,  # the client's
    "eos_token_id": [3, 4],  # the client's
    "output_hidden_states": True,  # what is returned
    "return_dict": False,  # what is returned
    "dtype": "bfloat16",  # tensors say themselves
    "transformers_version": "4.0.0",
    "chunk_size_feed_forward": 8,  # the same result in pieces
    "is_encoder_decoder": True,  # of other models
    "id2label": {"0": "a"},  # of classifiers
    "label2id": {"a": 0},  # of classifiers
}
# LLaMA has no windows, whatever its config.json has of those of its relatives.
OTHERS_WINDOWS: dict[str, Any] = {
    "sliding_window": 4096,
    "use_sliding_window": True,
    "max_window_layers": 1,
    "layer_types": ["full_attention", "sliding_attention"],
}
QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}


def config_class(family: str) -> type[PreTrainedConfig]:
    return type(AutoConfig.for_model(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_has_its_place(family: str) -> None:
    fields = {field.name for field in dataclasses.fields(config_class(family))}
    windows = set(QWEN_WINDOW) if family in WINDOWED else set()
    # Every configuration may have a head_dim and these two: the class is asked for attributes that it does not list.
    assert fields | {"head_dim"} <= set(USED) | set(OF_FAMILY.get(family, {})) | set(IRRELEVANT) | windows
    assert set(OF_FAMILY.get(family, {})) | windows <= fields


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_that_are_used(family: str) -> None:
    parse, before = architecture(family).parse, raw_config(family)
    if family in WINDOWED:
        before.pop("layer_types")  # transformers writes what follows from the other fields
    changes = USED | OF_FAMILY.get(family, {}) | {"architectures": [f"{STEMS[family]}Model"]}
    changes |= {"layer_types": ["sliding_attention", "full_attention"]} if family in WINDOWED else {}
    window = QWEN_WINDOW if family in WINDOWED else {}
    for name, value in changes.items():
        base = before | (
            window if name == "layer_types" else {name: w for name, w in window.items() if "use" not in name}
        )
        assert parse(base | {name: value}) != parse(base), name


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_that_are_irrelevant(family: str) -> None:
    parse, before = architecture(family).parse, raw_config(family)
    others = OTHERS_WINDOWS if family == "llama" else {}
    assert all(parse(before | {name: value}) == parse(before) for name, value in (IRRELEVANT | others).items())


@pytest.mark.parametrize("family", WINDOWED)
def test_windows_of_qwen(family: str) -> None:
    parse, before = architecture(family).parse, raw_config(family, num_hidden_layers=3, layer_types=None)
    assert parse(before).windows == (None, None, None)
    assert parse(before | QWEN_WINDOW).windows == (None, 3, 3)
    assert parse(before | QWEN_WINDOW | {"max_window_layers": 3}).windows == (None, None, None)
    assert parse(before | QWEN_WINDOW | {"sliding_window": None}).windows == (None, None, None)
    assert parse(before | {"use_sliding_window": False, "sliding_window": 3}).windows == (None, None, None)


REFUSED: list[tuple[str, str, Any]] = [
    *(
        (family, field, value)
        for family in FAMILIES
        for field, value in (
            ("partial_rotary_factor", 0.5),
            ("qk_norm", True),
            ("use_qk_norm", True),
            ("qk_layernorm", True),
            ("add_cross_attention", True),
            ("pruned_heads", {"0": [1]}),
            ("quantization_config", {"quant_method": "fp8"}),
            ("architectures", [f"{STEMS[family]}ForMultipleChoice"]),
            ("architectures", ["GPT2LMHeadModel"]),
            ("hidden_act", "mish"),
            ("hidden_act", None),
            *([("hidden_size", 25)] if family != "qwen3" else []),  # its heads are as wide as head_dim says
            ("hidden_size", 0),
            ("vocab_size", None),
            ("rms_norm_eps", 0),
            ("num_key_value_heads", 4),
            ("num_key_value_heads", 0),
            ("head_dim", 5),
            ("head_dim", 4.0),
            ("max_position_embeddings", None),
            ("tie_word_embeddings", "yes"),
        )
    ),
    ("llama", "attention_bias", 1),
    ("llama", "mlp_bias", "no"),
    ("mistral", "attention_bias", True),
    ("mistral", "mlp_bias", True),
    ("mistral", "sliding_window", 0),
    ("mistral", "sliding_window", True),
    ("mistral", "layer_types", ["full_attention", "sliding_attention"]),
    ("mistral", "use_sliding_window", False),
    ("qwen2", "attention_bias", True),
    ("qwen3", "attention_bias", 1),
    *(
        (family, field, value)
        for family in WINDOWED
        for field, value in (
            ("mlp_bias", True),
            ("use_sliding_window", "yes"),
            ("layer_types", ["sliding_attention", "full_attention"]),  # with use_sliding_window false
            ("layer_types", ["full_attention"]),
            ("layer_types", ["full_attention", "linear_attention"]),
            ("layer_types", "full_attention"),
        )
    ),
]


@pytest.mark.parametrize(("family", "field", "value"), REFUSED)
def test_fields_that_are_refused(family: str, field: str, value: Any) -> None:
    derived = {"head_dim": None} if field == "hidden_size" else {}
    with pytest.raises(CheckpointError, match=field):
        architecture(family).parse(raw_config(family, **{field: value}, **derived))


@pytest.mark.parametrize("changes", [{"sliding_window": None}, {"sliding_window": "wide"}, {"max_window_layers": None}])
def test_windows_of_qwen2_that_are_refused(changes: dict[str, Any]) -> None:
    layers = ["full_attention", "sliding_attention"]
    kinds = {"layer_types": layers} if changes.get("sliding_window", 0) is None else {"layer_types": None}
    field = "layer_types" if kinds["layer_types"] else next(iter(changes))
    with pytest.raises(CheckpointError, match=field):
        architecture("qwen2").parse(raw_config("qwen2", **QWEN_WINDOW | kinds | changes))


# -- rotary positions

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + i / 32 for i in range(32)],
    "long_factor": [1.0 + i for i in range(32)],
    "original_max_position_embeddings": 4096,
}
ROPE: dict[str, dict[str, Any]] = {
    "none": {},
    "theta": {"rope_theta": 500_000.0},
    "default": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "old-linear": {"rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 5e5},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 2.7}},
    "dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 3.3}},
    "llama3": {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
    "old-llama3": {"rope_scaling": LLAMA3, "rope_theta": 500_000},
    "yarn": {"rope_parameters": YARN},
    "yarn-ramp": {"rope_parameters": YARN | {"beta_fast": 20.0, "beta_slow": 2, "truncate": False}},
    "yarn-attention": {"rope_parameters": YARN | {"attention_factor": 0.9}},
    "yarn-mscale": {"rope_parameters": YARN | {"mscale": 0.707, "mscale_all_dim": 1.2}},
    "yarn-original": {"rope_parameters": {"rope_type": "yarn", "factor": 1.0}},
    "old-yarn": {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}},
    "longrope": {"rope_parameters": LONGROPE},
    "longrope-factor": {"rope_parameters": LONGROPE | {"factor": 6.0}},
    "longrope-attention": {"rope_parameters": LONGROPE | {"attention_factor": 1.19}},
    "original-outside": {"rope_parameters": LONGROPE, "original_max_position_embeddings": 2048},
}


@pytest.mark.parametrize("form", ROPE)
def test_frequencies_are_those_of_transformers(form: str) -> None:
    sizes = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 16_384}
    config = AutoConfig.for_model("llama", **sizes, **json.loads(json.dumps(ROPE[form])))
    rope = parse_rope({**sizes, **ROPE[form]}, 64)
    module = LlamaRotaryEmbedding(config)
    assert torch.equal(torch.tensor(rope.frequencies), module.inv_freq)
    assert rope.scale == pytest.approx(module.attention_scaling, rel=1e-15)
    positions = torch.tensor([0, 1, 17, 900, rope.positions - 1])
    due = module(torch.zeros(1), positions.unsqueeze(0))
    for found, expected in zip(rotations(positions, torch.tensor(rope.frequencies), rope.scale), due, strict=True):
        assert float((found - expected[0, :, :32]).abs().max()) < 1e-6
    # What is stored as transformers stores it is read the same.
    assert parse_rope(json.loads(config.to_json_string(use_diff=True)) | sizes, 64) == rope


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"rope_parameters": {"rope_type": "proportional"}}, "rope_type is 'proportional'"),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_scaling: rope_type is 'su'"),
        ({"rope_scaling": {"type": ["linear"]}}, "rope_type is"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "'full_attention' is not known"),
        ({"rope_parameters": {"mrope_section": [16, 24, 24]}}, "'mrope_section' is not known"),
        ({"rope_parameters": {"rope_type": "default", "factor": 2.0}}, "'factor' is not known for rope_type 'default'"),
        ({"rope_parameters": LLAMA3 | {"attention_factor": 1.0}}, "'attention_factor' is not known"),
        ({"rope_parameters": {"partial_rotary_factor": 0.25}}, "partial_rotary_factor is 0.25"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_parameters: rope_theta is None"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0"),
        ({"rope_theta": 1}, "rope_theta is 1; it must be above 1"),
        ({"rope_parameters": LONGROPE | {"original_max_position_embeddings": 1}}, "embeddings is 1; it must be above"),
        ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters: factor is missing"),
        ({"rope_parameters": {"rope_type": "linear", "factor": "8"}}, "factor is '8'"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "factor is missing"),
        ({"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "high_freq_factor 1.0 must be above"),
        ({"rope_parameters": YARN | {"truncate": 1}}, "truncate is 1"),
        ({"rope_parameters": YARN | {"beta_fast": -3}}, "beta_fast is -3"),
        ({"rope_parameters": YARN | {"attention_factor": 0.0}}, "attention_factor is 0.0"),
        ({"rope_parameters": LONGROPE | {"short_factor": [1.0]}}, "short_factor must be a list of 32"),
        ({"rope_parameters": LONGROPE | {"long_factor": None}}, "long_factor must be a list of 32"),
        ({"rope_parameters": LONGROPE | {"short_factor": [0.0] * 32}}, "short_factor must be"),
        (
            {"rope_parameters": YARN, "original_max_position_embeddings": True},
            "original_max_position_embeddings is True",
        ),
    ],
)
def test_rotary_positions_that_are_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        parse_rope({"max_position_embeddings": 16_384, **changes}, 64)


def test_every_rope_type_of_transformers_has_its_place() -> None:
    """Those that we do not serve are refused above."""
    assert set(ROPE_INIT_FUNCTIONS) == {"linear", "dynamic", "yarn", "longrope", "llama3", "proportional"}
