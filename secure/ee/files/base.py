"""A plain checkpoint folder, read and checked before anything is computed on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from secure.ee.files.folder import Step, TensorFolder, no_progress
from secure.ee.files.manifest import MANIFEST_NAME, EncryptionManifest
from secure.ee.files.sealing import seal
from secure.ee.files.tokenizer_ids import largest_id
from secure.models.checkpoint.folder import check_no_others, read_json
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.rule import Constant
from secure.protocols.equivariant.transform import Transform
from secure.split import check_folder
from secure.tokens import load_tokenizer

CONFIG_NAME = "config.json"
GENERATION_NAME = "generation_config.json"
TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER_NAME,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
"""What a client tokenises with. The server never gets them."""
FINAL_NORM_NAME = "final_norm.safetensors"
"""Among the client's sealed files: gain and bias of the last normalisation, where the head took them in."""
_HEAD = "lm_head.weight"
_FINAL_NORMS = ("model.norm", "norm", "transformer.ln_f", "ln_f", "vit.layernorm", "layernorm")
_CLIENT_FILES = (CONFIG_NAME, GENERATION_NAME, *TOKENIZER_FILES, "preprocessor_config.json")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a plain checkpoint. Raises CheckpointError for another folder, or an encrypted one."""
    check_folder(folder, "a checkpoint")
    if (folder / MANIFEST_NAME).is_file():
        raise CheckpointError(f"{folder} is encrypted already; give the checkpoint that it was made from")
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(f"{folder} is no checkpoint folder: it has no {CONFIG_NAME}")
    return read_json(folder / CONFIG_NAME)


def open_base(folder: Path, transform: Transform) -> TensorFolder:
    """A plain checkpoint's tensors, by the names that the transform has for them. Raises CheckpointError."""
    tensors = TensorFolder(folder)
    tensors.complete_names(transform.base_tensors, transform.prefix)
    return tensors


def client_files(folder: Path) -> dict[str, bytes]:
    """The small files that a client needs, by name."""
    return {name: (folder / name).read_bytes() for name in _CLIENT_FILES if (folder / name).is_file()}


def final_norm(transform: Transform, tensors: TensorFolder) -> dict[str, bytes]:
    """The file of the last normalisation's gain and bias; none where encryption left them in their place."""
    found = {}
    for name, kind in ((f"{norm}.{kind}", kind) for norm in _FINAL_NORMS for kind in ("weight", "bias")):
        if name in transform.tensors and name in tensors.specs and isinstance(transform.rule(name), Constant):
            found[kind] = tensors(name)
    return {FINAL_NORM_NAME: save(found)} if found else {}


def check_tensors(tensors: TensorFolder, due: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError that names a missing, misshapen or unknown tensor."""
    for name, shape in due.items():
        tensors.due(name, shape)
    check_no_others(set(tensors.specs) - set(due) - _tied_heads(tensors, due), "they would stay unencrypted")


def _tied_heads(tensors: TensorFolder, due: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The head of a tied model, which some writers store once more. Raises CheckpointError when it is another one."""
    embedding = next((name for name in due if name.endswith(("embed_tokens.weight", "wte.weight"))), None)
    if _HEAD in due or _HEAD not in tensors.specs or embedding is None:
        return set()
    if not tensors.same(_HEAD, embedding):
        raise CheckpointError(
            f"the configuration ties {_HEAD} to {embedding}, and the checkpoint has two different ones: that tie "
            "cannot be kept; set tie_word_embeddings to false if the head was trained apart"
        )
    return {_HEAD}


def check_tokenizer(folder: Path, transform: Transform) -> None:
    """Raises CheckpointError when the folder's tokenizer has ids that the model does not have."""
    if transform.vocabulary is None:
        return
    if (folder / TOKENIZER_NAME).is_file():
        top = largest_id(read_json(folder / TOKENIZER_NAME))
    else:
        # Older kinds of files; each has its own way to number tokens.
        tokenizer = load_tokenizer(folder)
        top = -1 if tokenizer is None else max(tokenizer.get_vocab().values(), default=-1)
    if top >= transform.vocabulary.size:
        raise CheckpointError(
            f"the tokenizer has ids up to {top}, the model's vocabulary ends at {transform.vocabulary.size - 1}: "
            "the tokenizer belongs to another model, or the embedding was not resized after tokens were added"
        )


def base_seal(tensors: TensorFolder, names: Mapping[str, object], key: Key, progress: Step) -> str:
    """A MAC over all tensors' names, types, shapes and bits, however they are spread over files."""
    total, done = sum(tensors.specs[name].size_bytes for name in names), 0
    whole = hashlib.sha256()
    for name in sorted(names):
        progress("reading the base", done, total)
        spec, tensor = tensors.specs[name], tensors(name)
        whole.update(f"{name} {spec.dtype} {spec.shape}\n".encode())
        whole.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        done += spec.size_bytes
    return seal(key, "base", whole.digest())


def check_base(
    tensors: TensorFolder,
    transform: Transform,
    manifest: EncryptionManifest,
    key: Key,
    folders: tuple[Path, Path],
    progress: Step = no_progress,
) -> None:
    """Raises CheckpointError unless the first folder is the checkpoint that the second one was made from."""
    base, encrypted = folders
    due = {name: tuple(shape) for name, shape in transform.base_tensors.items()}
    found = {name: spec.shape for name, spec in tensors.specs.items() if name in due}
    if found != due or base_seal(tensors, due, key, progress) != manifest.base_seal:
        raise CheckpointError(f"{base} is not the checkpoint that {encrypted} was made from")
