"""LoRA adapters as peft saves them, encrypted with the key of the checkpoint that they belong to.

The options are those of the encrypted base, whose manifest says them. An adapter has no claim of its own: its manifest
repeats what holds for the base.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from secure.ee.files.base import CONFIG_NAME, check_base, open_base, read_config
from secure.ee.files.folder import TensorFolder, check_is_new, new_folder, write_json
from secure.ee.files.manifest import SEALED_NAME, EncryptionManifest, read_manifest
from secure.ee.files.sealing import encrypt_files
from secure.ee.files.transforms import planned
from secure.models.checkpoint.folder import file_digest, read_json
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.adapter import encrypt_adapter as encrypt_tensors
from secure.protocols.equivariant.key import Key

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
# The base's name, and code; the client's sealed copy keeps them.
_DROPPED = ("base_model_name_or_path", "auto_mapping", "revision")
# What a configuration may set: sizes, factors, names of modules, and what peft fills in. None of it holds ids or
# changes the base's weights.
_FIELDS = (
    *_DROPPED,
    "alpha_pattern",
    "bias",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_rslora",
)
_REASONS = {
    "alora_invocation_tokens": "an activated LoRA waits for plain token ids, and would tell them to the server",
    "trainable_token_indices": "it trains single tokens",
    "use_dora": "DoRA's magnitudes do not move",
}
# Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) were trained on a base with other weights than its files have.
_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal", "mica")


def encrypt_adapter(adapter: Path, base: Path, encrypted: Path, key: Key, out: Path) -> EncryptionManifest:
    """Encrypt a peft folder into a new one that `PeftModel.from_pretrained` loads onto the encrypted checkpoint.

    Args:
        adapter: a folder with adapter_config.json and adapter_model.safetensors.
        base: the plain checkpoint that it was trained on.
        encrypted: what `encrypt_checkpoint` made of that one with this key.

    Raises CheckpointError for an adapter of another kind than LoRA or for another base, and for a wrong key;
    ConfigurationError for an output that exists.
    """
    check_is_new(out)
    manifest = read_manifest(encrypted)
    manifest.check_key(key)
    if manifest.mode != "checkpoint":
        raise CheckpointError(f"{encrypted} is of mode {manifest.mode!r}; an adapter goes onto a whole checkpoint")
    settings = _settings(adapter)
    transform = planned(manifest, read_config(base), key)
    source, plain = TensorFolder(adapter, _WEIGHTS), open_base(base, transform)
    check_base(plain, transform, manifest, key, (base, encrypted))
    made = encrypt_tensors(transform, key, {name: source(name) for name in source.specs}, plain)
    largest = max(source.specs.values(), key=lambda spec: spec.size_bytes)
    specs = {
        name: FileTensorSpec(tuple(tensor.shape), source.specs.get(name, largest).dtype)
        for name, tensor in made.tensors.items()
    }
    with new_folder(out) as folder:
        with TensorFile(folder / _WEIGHTS, specs) as file:
            for name, tensor in made.tensors.items():
                file.write(name, tensor)
        shown = settings | made.config_changes
        write_json(folder / ADAPTER_CONFIG, {name: value for name, value in shown.items() if name not in _DROPPED})
        kept = {ADAPTER_CONFIG: (adapter / ADAPTER_CONFIG).read_bytes(), CONFIG_NAME: (base / CONFIG_NAME).read_bytes()}
        (folder / SEALED_NAME).write_bytes(encrypt_files(key, kept))
        files = {name: file_digest(folder / name) for name in (ADAPTER_CONFIG, SEALED_NAME)} | {_WEIGHTS: file.digest}
        sealed = replace(manifest, mode="adapter", files=files).sealed(key)
        sealed.save(folder)
    return sealed


def _settings(adapter: Path) -> dict[str, Any]:
    settings = read_json(adapter / ADAPTER_CONFIG)
    if settings.get("peft_type") != "LORA":
        raise CheckpointError(f"{adapter} is an adapter of type {settings.get('peft_type')!r}; LORA is supported")
    for name, value in settings.items():
        if value and name not in _FIELDS:
            why = _REASONS.get(name, "what it does under encryption is not known here")
            raise CheckpointError(f"{adapter} sets {name}: {why}; not supported")
    if settings.get("init_lora_weights", True) not in _INITIALISATIONS:
        raise CheckpointError(
            f"{adapter} has init_lora_weights {settings['init_lora_weights']!r}, which changes the base's weights; "
            "save it as plain LoRA first: save_pretrained(..., path_initial_model_for_weight_conversion=DIR) with the "
            "folder of its untrained state"
        )
    if settings.get("bias", "none") != "none":
        raise CheckpointError(f"{adapter} trains the base's biases (bias); only LoRA's own tensors are supported")
    return settings
