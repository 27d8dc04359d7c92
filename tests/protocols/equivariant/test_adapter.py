"""LoRA adapters that peft wrote, encrypted under the key of their base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.adapter import encrypt_adapter
from tests.protocols.equivariant.tiny import EVERY, KEY, LANGUAGE, Checkpoint, encrypt, ids, load, relative, save

ADAPTED: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"target_modules": "all-linear"}),
    ("llama", {"target_modules": ["embed_tokens", "lm_head", "o_proj"]}),
    ("llama tied", {"target_modules": ["q_proj", "v_proj", "down_proj"]}),
    ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("gpt2 score", {"target_modules": ["c_attn"], "modules_to_save": ["score"], "fan_in_fan_out": True}),
    ("llama biases", {"target_modules": ["q_proj", "up_proj"], "lora_bias": True}),
    ("qwen2", {"target_modules": "all-linear"}),
    ("gpt2", {"target_modules": ["c_attn", "c_fc", "c_proj"], "fan_in_fan_out": True}),
    ("bert sequence", {"target_modules": ["query", "value", "dense"], "modules_to_save": ["classifier"]}),
    ("bert sequence", {"target_modules": ["query"], "modules_to_save": ["LayerNorm", "classifier"]}),
    ("qwen3", {"target_modules": "all-linear", "modules_to_save": ["q_norm"]}),
]


def write_adapter(name: str, checkpoint: Checkpoint, folder: Path, options: dict[str, Any]) -> None:
    """A random adapter of rank 3."""
    torch.manual_seed(11)
    model = get_peft_model(load(EVERY[name], checkpoint), LoraConfig(r=3, lora_alpha=5, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)


def encrypt_folder(source: Path, target: Path, checkpoint: Checkpoint, **options: Any) -> dict[str, torch.Tensor]:
    adapter = load_file(source / "adapter_model.safetensors")
    base = checkpoint.tensors.__getitem__
    encrypted = encrypt_adapter(checkpoint.plan(**options), KEY, adapter, base)
    target.mkdir()
    save_file(
        {key: value.contiguous() for key, value in encrypted.tensors.items()}, target / "adapter_model.safetensors"
    )
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    (target / "adapter_config.json").write_text(json.dumps({**config, **encrypted.config_changes}), encoding="utf-8")
    return adapter


# This peft reads a property that this transformers has renamed, and takes its own biases for matrices.
@pytest.mark.filterwarnings("ignore:.*LoRA tensor.s. have invalid shape")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("permutations", [False, True])
@pytest.mark.parametrize(("name", "options"), ADAPTED)
def test_adapters(name: str, options: dict[str, Any], permutations: bool, tmp_path: Path, exact_norms: None) -> None:
    checkpoint, variant = save(EVERY[name], tmp_path / "base"), EVERY[name]
    transform = checkpoint.plan(permutations=permutations)
    encrypted = encrypt(checkpoint, transform, tmp_path / "encrypted")
    write_adapter(name, checkpoint, tmp_path / "adapter", options)
    encrypt_folder(tmp_path / "adapter", tmp_path / "moved", checkpoint, permutations=permutations)
    assert transform.vocabulary is not None
    with torch.no_grad():
        plain = load(variant, checkpoint)
        unadapted = plain(input_ids=ids()).logits
        expected = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(input_ids=ids()).logits
        model = PeftModel.from_pretrained(load(variant, encrypted), tmp_path / "moved").eval()
        found = model(input_ids=transform.vocabulary.encrypt_ids(ids())).logits
    if name in LANGUAGE:
        found = transform.vocabulary.decrypt_logits(found)
    assert relative(found, expected) <= 1e-10
    assert relative(unadapted, expected) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model.model.model.layers.9.mlp.up_proj.lora_A.weight": (3, 32)}, "one of lora_A and lora_B"),
        ({"base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector": (40,)}, "no part of LoRA"),
        ({"base_model.model.other.weight": (3,)}, "no part of LoRA on this base"),
        ({"base_model.model.x.lora_A.weight": (3, 32), "base_model.model.x.lora_B.weight": (8, 3)}, "changes x"),
        (
            {
                "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": (3, 31),
                "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": (40, 3),
            },
            r"up_proj.lora_A has shape \[3, 31\]",
        ),
    ],
)
def test_other_adapters_are_refused(change: dict[str, tuple[int, ...]], message: str, tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama"], tmp_path / "base")
    adapter = {name: torch.zeros(shape) for name, shape in change.items()}
    with pytest.raises(CheckpointError, match=message):
        encrypt_adapter(checkpoint.plan(), KEY, adapter, checkpoint.tensors.__getitem__)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("llama", "model.layers.1.input_layernorm.weight"),
        ("llama", "model.norm.weight"),
        ("gpt2 untied", "transformer.h.0.ln_1.bias"),
        ("gpt2 untied", "transformer.ln_f.bias"),
    ],
)
def test_a_trained_norm_is_refused_where_the_base_has_folded_it(name: str, own: str, tmp_path: Path) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    trained = {f"base_model.model.{own}": torch.arange(32.0, dtype=torch.float64)}
    with pytest.raises(CheckpointError, match=f"holds {own} as a whole .* folded into the weights behind it"):
        encrypt_adapter(checkpoint.plan(), KEY, trained, checkpoint.tensors.__getitem__)
    kept = encrypt_adapter(checkpoint.plan(permutations=True), KEY, trained, checkpoint.tensors.__getitem__)
    (moved,) = kept.tensors.values()
    assert moved.sort().values.equal(torch.arange(32.0, dtype=torch.float64))


def test_a_whole_embedding_cannot_replace_a_tied_one(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama tied"], tmp_path / "base")
    adapter = {"base_model.model.model.embed_tokens.weight": torch.zeros(61, 32)}
    with pytest.raises(CheckpointError, match="ties embedding and head"):
        encrypt_adapter(checkpoint.plan(), KEY, adapter, checkpoint.tensors.__getitem__)
    assert encrypt_adapter(checkpoint.plan(keep_tie=True), KEY, adapter, checkpoint.tensors.__getitem__).tensors
