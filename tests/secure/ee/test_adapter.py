"""LoRA adapters that the real peft writes and loads, encrypted with the key of their base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.owner.adapter import encrypt_adapter
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.verify import verify_checkpoint
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import SIZE, shake

# peft asks transformers for a name that the newer of the two has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def prompts() -> Tensor:
    return torch.randint(4, SIZE, (3, 9), generator=torch.Generator().manual_seed(2))


def save_adapter(base: Path, folder: Path, **settings: Any) -> Any:
    """A random adapter, as after some training. Returns the plain model with it."""
    torch.manual_seed(9)
    options = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | settings
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids).logits


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    save_adapter(base, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True, "target_modules": ["q_proj", "down_proj"]}, {"init_lora_weights": "orthogonal"}],
)
def test_peft_loads_it_onto_the_encrypted_base(
    base: Path, encrypted: Path, key: Key, tmp_path: Path, settings: dict[str, Any]
) -> None:
    plain = save_adapter(base, tmp_path / "adapter", **settings)
    encrypt_adapter(tmp_path / "adapter", base, encrypted, key, tmp_path / "out")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(encrypted), tmp_path / "out").eval()
    vocabulary = open_checkpoint(encrypted, key).vocabulary
    assert vocabulary is not None
    due = logits(plain, prompts())
    with plain.disable_adapter():
        without = logits(plain, prompts())
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert float((found - due).abs().max()) < 2e-5 * float(due.abs().max())
    assert float((without - due).abs().max()) > 0.1 * float(due.abs().max())


def test_gpt2_whose_layer_norms_have_biases(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
        initializer_range=0.2,
    )  # fmt: skip
    shake(GPT2LMHeadModel(config)).save_pretrained(tmp_path / "base")
    settings = {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}
    plain = save_adapter(tmp_path / "base", tmp_path / "adapter", **settings)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "encrypted")
    encrypt_adapter(tmp_path / "adapter", tmp_path / "base", tmp_path / "encrypted", key, tmp_path / "out")
    served = AutoModelForCausalLM.from_pretrained(tmp_path / "encrypted")
    model = PeftModel.from_pretrained(served, tmp_path / "out").eval()
    vocabulary = open_checkpoint(tmp_path / "encrypted", key).vocabulary
    assert vocabulary is not None
    due = logits(plain, prompts())
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert float((found - due).abs().max()) < 5e-5 * float(due.abs().max())


def test_the_folder_does_not_name_the_base_and_can_be_verified(
    adapter: Path, base: Path, encrypted: Path, key: Key, tmp_path: Path
) -> None:
    encrypt_adapter(adapter, base, encrypted, key, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["r"] == 4 and "base_model_name_or_path" not in settings
    assert all(str(base).encode() not in path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert [finding.what for finding in verify_checkpoint(tmp_path / "out", key=key)] == ["files", "manifest", "key"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "IA3"}, "of type 'IA3'"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "trains the base's biases"),
        ({"trainable_token_indices": [3]}, "single tokens"),
        ({"alora_invocation_tokens": [5, 9]}, "sets alora_invocation_tokens: .* plain token ids"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "sets layer_replication"),
        ({"a_field_of_tomorrow": [7]}, "sets a_field_of_tomorrow: what it does under encryption is not known here"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', .* path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "olora"}, "'olora', which changes the base's weights"),
        ({"init_lora_weights": "loftq"}, "'loftq', which changes the base's weights"),
    ],
)
def test_other_kinds_of_adapters_are_refused(
    adapter: Path,
    base: Path,
    encrypted: Path,
    key: Key,
    tmp_path: Path,
    edit_config: Callable[..., None],
    fields: dict[str, Any],
    words: str,
) -> None:
    edit_config(adapter, "adapter_config.json", **fields)
    with pytest.raises(CheckpointError, match=words):
        encrypt_adapter(adapter, base, encrypted, key, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_key_is_refused(adapter: Path, base: Path, encrypted: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="wrong key"):
        encrypt_adapter(adapter, base, encrypted, Key(key.secret[::-1]), tmp_path / "out")


def test_another_base_is_refused(
    adapter: Path, base: Path, encrypted: Path, key: Key, tmp_path: Path, edit_config: Callable[..., None]
) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    edit_config(other, intermediate_size=64)
    with pytest.raises(CheckpointError, match="is not the checkpoint that"):
        encrypt_adapter(adapter, other, encrypted, key, tmp_path / "out")
