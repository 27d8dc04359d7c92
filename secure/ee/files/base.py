"""A plain checkpoint folder, read and checked before anything is computed on it."""

from __future__ import annotations

import hashlib
import json
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
from secure.models.families.defaults import with_defaults
from secure.models.families.registry import encrypted_family
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.fields import flag
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
_FINAL_NORMS = ("model.norm", "norm", "transformer.ln_f", "ln_f", "vit.layernorm", "layernorm")
_CLIENT_FILES = (CONFIG_NAME, GENERATION_NAME, *TOKENIZER_FILES, "preprocessor_config.json")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a plain checkpoint with transformers' defaults for what it lacks.

    It ties no head to the embedding where another one is stored, which then counts, as in transformers 5.

    Raises CheckpointError for another folder, an encrypted one, and an architecture that cannot be encrypted.
    """
    return {**with_defaults(_stored_config(folder)), **_untied(folder)}


def _stored_config(folder: Path) -> dict[str, Any]:
    check_folder(folder, "a checkpoint")
    if (folder / MANIFEST_NAME).is_file():
        raise CheckpointError(f"{folder} is encrypted already; give the checkpoint that it was made from")
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(f"{folder} is no checkpoint folder: it has no {CONFIG_NAME}")
    return read_json(folder / CONFIG_NAME)


def _untied(folder: Path) -> dict[str, Any]:
    """What a configuration should say of ties where it has one that the tensors do not have."""
    ties = _ties(_stored_config(folder))
    tensors = TensorFolder(folder) if ties else None
    own = tensors is not None and any(_is_own(tensors, *pair) for pair in ties.items())
    return {"tie_word_embeddings": False} if own else {}


def _ties(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Tensors that the configuration ties, by the tensor that each is tied to."""
    return encrypted_family(config).ties if flag(with_defaults(config), "tie_word_embeddings", False) else {}


def _is_own(tensors: TensorFolder, copy: str, original: str) -> bool:
    """Whether a tensor that is tied by the configuration is stored with other numbers."""
    named = original if original in tensors.specs else original.partition(".")[2]
    return copy in tensors.specs and named in tensors.specs and not tensors.same(copy, named)


def open_base(folder: Path, transform: Transform) -> TensorFolder:
    """A plain checkpoint's tensors, by the names that the transform has for them. Raises CheckpointError."""
    tensors = TensorFolder(folder)
    tensors.complete_names(transform.base_tensors, transform.prefix)
    for copy, original in _ties(_stored_config(folder)).items():
        if copy in transform.base_tensors:
            # One of a tied head's tensors is its own, and what is not is what the configuration ties it to.
            tensors.add_copy(copy, original)
        elif copy in tensors.specs and not _is_own(tensors, copy, original):
            tensors.leave_out(copy)
    return tensors


def client_files(folder: Path) -> dict[str, bytes]:
    """The small files that a client needs, by name; the configuration without a tie that the tensors do not have."""
    files = {name: (folder / name).read_bytes() for name in _CLIENT_FILES if (folder / name).is_file()}
    untied = _untied(folder)
    if untied:
        files[CONFIG_NAME] = json.dumps(_stored_config(folder) | untied, indent=2).encode()
    return files


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
    check_no_others(set(tensors.specs) - set(due), "they would stay unencrypted")


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
