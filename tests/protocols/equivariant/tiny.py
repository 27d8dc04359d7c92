"""Tiny random models of every family, as checkpoints on disk: names and values are what transformers writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    Qwen3ForQuestionAnswering,
    Qwen3ForSequenceClassification,
    Qwen3Model,
    ResNetForImageClassification,
    ResNetModel,
    ViTForImageClassification,
    ViTModel,
)

from secure.models.families.registry import encrypted_family
from secure.protocols.equivariant import Key, Transform, plan

KEY = Key(bytes(range(32)))
VOCABULARY = 61
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    **_IDS,
}
_BERT = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": 64, **_IDS}
_VIT = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 12,
    "patch_size": 4,
}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "num_labels": 5}
_DEFAULTS: dict[str, dict[str, Any]] = {"gpt2": _GPT2, "bert": _BERT, "vit": _VIT, "resnet": _RESNET}
"""What a tiny configuration has, by model_type; all others are LLaMA's kin."""


@dataclass(frozen=True)
class Variant:
    """One configuration that must be exact."""

    model: type[PreTrainedModel]
    values: Mapping[str, Any] = field(default_factory=dict)

    def build(self, spread: float = 0.2) -> PreTrainedModel:
        """A random model in evaluation mode, float32, whose gains, biases and running moments are not trivial.

        spread: standard deviation of what is added to every value that transformers initialised.
        """
        torch.manual_seed(7)
        config = self.model.config_class
        defaults = _DEFAULTS.get(config.model_type, _LLAMA)
        model = self.model(config(**{**defaults, **self.values})).eval()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    positive = name.endswith("running_var")
                    tensor.add_(spread * (torch.rand_like(tensor) if positive else torch.randn_like(tensor)))
        return model


def _rope(**values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, **values}}


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
_LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0], "factor": 4.0}

LANGUAGE = {
    "llama": Variant(LlamaForCausalLM),
    "llama tied": Variant(LlamaForCausalLM, {"tie_word_embeddings": True}),
    "llama biases": Variant(LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "llama without groups": Variant(LlamaForCausalLM, {"num_key_value_heads": 4}),
    "llama one kv head": Variant(LlamaForCausalLM, {"num_key_value_heads": 1}),
    "llama wide heads": Variant(LlamaForCausalLM, {"head_dim": 12}),
    "llama gelu": Variant(LlamaForCausalLM, {"hidden_act": "gelu"}),
    "llama rope linear": Variant(LlamaForCausalLM, _rope(rope_type="linear", factor=2.0)),
    "llama rope dynamic": Variant(LlamaForCausalLM, _rope(rope_type="dynamic", factor=2.0)),
    "llama rope yarn": Variant(
        LlamaForCausalLM, _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
    ),
    "llama rope longrope": Variant(
        LlamaForCausalLM,
        _rope(rope_type="longrope", original_max_position_embeddings=16, **_LONG),
    ),
    "llama rope llama3": Variant(LlamaForCausalLM, _rope(rope_type="llama3", **_LLAMA3)),
    "mistral": Variant(MistralForCausalLM, {"head_dim": 8}),
    "mistral window": Variant(MistralForCausalLM, {"sliding_window": 5, "head_dim": 8}),
    "qwen2": Variant(Qwen2ForCausalLM),
    "qwen2 tied": Variant(Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen2 window": Variant(
        Qwen2ForCausalLM, {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
    ),
    "qwen3": Variant(Qwen3ForCausalLM, {"head_dim": 12}),
    "qwen3 tied": Variant(Qwen3ForCausalLM, {"head_dim": 8, "tie_word_embeddings": True, "attention_bias": True}),
    "gpt2": Variant(GPT2LMHeadModel),
    "gpt2 untied": Variant(GPT2LMHeadModel, {"tie_word_embeddings": False}),
    "gpt2 inner": Variant(GPT2LMHeadModel, {"n_inner": 48, "scale_attn_by_inverse_layer_idx": True}),
    "bert words": Variant(BertForMaskedLM),
    "bert words untied": Variant(BertForMaskedLM, {"tie_word_embeddings": False}),
}
"""Logits over the vocabulary."""

LABELS = {
    "llama score": Variant(LlamaForSequenceClassification, {"num_labels": 3}),
    "llama tokens": Variant(LlamaForTokenClassification, {"num_labels": 3}),
    "llama answers": Variant(LlamaForQuestionAnswering),
    "qwen3 answers": Variant(Qwen3ForQuestionAnswering, {"head_dim": 8}),
    "qwen3 score": Variant(Qwen3ForSequenceClassification, {"num_labels": 3, "head_dim": 8}),
    "gpt2 score": Variant(GPT2ForSequenceClassification, {"num_labels": 3}),
    "gpt2 tokens": Variant(GPT2ForTokenClassification, {"num_labels": 3}),
    "gpt2 answers": Variant(GPT2ForQuestionAnswering),
    "bert sequence": Variant(BertForSequenceClassification, {"num_labels": 3}),
    "bert sequence relu": Variant(BertForSequenceClassification, {"hidden_act": "relu"}),
    "bert tokens": Variant(BertForTokenClassification, {"num_labels": 5}),
    "bert answers": Variant(BertForQuestionAnswering),
}
"""Logits that no key moves."""

HIDDEN = {
    "llama body": Variant(LlamaModel),
    "qwen3 body": Variant(Qwen3Model, {"head_dim": 8}),
    "gpt2 body": Variant(GPT2Model),
    "bert body": Variant(BertModel),
}
"""Hidden states, which the client turns back."""

IMAGES = {
    "vit": Variant(ViTForImageClassification, {"num_labels": 3}),
    "vit without biases": Variant(ViTForImageClassification, {"qkv_bias": False}),
    "vit oblong": Variant(ViTForImageClassification, {"image_size": [8, 12], "patch_size": [4, 3]}),
    "vit body": Variant(ViTModel),
    "resnet basic": Variant(ResNetForImageClassification, {"layer_type": "basic"}),
    "resnet bottleneck": Variant(ResNetForImageClassification),
    "resnet downsampling": Variant(
        ResNetForImageClassification,
        {"downsample_in_first_stage": True, "downsample_in_bottleneck": True, "num_channels": 4},
    ),
    "resnet body": Variant(ResNetModel),
}

EVERY = {**LANGUAGE, **LABELS, **HIDDEN, **IMAGES}


class Checkpoint:
    """A checkpoint folder, read as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tensors: dict[str, Tensor] = load_file(folder / "model.safetensors")

    def plan(self, key: Key = KEY, **options: Any) -> Transform:
        return plan(encrypted_family(self.config), self.config, key, **options)


def save(variant: Variant, folder: Path, dtype: torch.dtype = torch.float64, *, spread: float = 0.2) -> Checkpoint:
    """The variant's checkpoint in a new folder."""
    variant.build(spread).to(dtype).save_pretrained(folder)
    return Checkpoint(folder)


def encrypt(checkpoint: Checkpoint, transform: Transform, folder: Path) -> Checkpoint:
    """The encrypted checkpoint in a new folder."""
    return _write(checkpoint, transform.encrypt, transform.tensors, transform.config_changes, folder)


def decrypt(base: Checkpoint, encrypted: Checkpoint, transform: Transform, folder: Path) -> Checkpoint:
    """What decryption makes of an encrypted checkpoint, with the base's config.json."""
    source = Checkpoint(encrypted.folder)
    source.config = base.config
    return _write(source, transform.decrypt, transform.base_tensors, {}, folder)


def _write(
    checkpoint: Checkpoint,
    compute: Callable[[str, Callable[[str], Tensor]], Tensor],
    names: Mapping[str, object],
    changes: Mapping[str, Any],
    folder: Path,
) -> Checkpoint:
    folder.mkdir()
    dtype = next(tensor.dtype for tensor in checkpoint.tensors.values() if tensor.is_floating_point())
    computed = {name: compute(name, checkpoint.tensors.__getitem__) for name in names}
    tensors = {name: x.to(dtype).contiguous() if x.is_floating_point() else x for name, x in computed.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**checkpoint.config, **changes}), encoding="utf-8")
    return Checkpoint(folder)


def load(variant: Variant, checkpoint: Checkpoint, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """The model that transformers makes of a checkpoint; nothing may be missing or left over."""
    model, report = variant.model.from_pretrained(checkpoint.folder, dtype=dtype, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["missing_keys"]
    return model.eval()


def ids(rows: int = 3, tokens: int = 21, seed: int = 3) -> Tensor:
    """Random token ids above the special ones. Shapes: int64 [rows, tokens]."""
    return torch.randint(3, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference over largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
