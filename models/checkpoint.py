"""From a Hugging Face checkpoint folder to fixed-point tensors, and from those to two share files.

Every key, shape, number and configuration value is checked here, before anything is shared or sent.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.labels import parse_labels, write_labels
from models.manifest import TABLE_VALUE_BITS, Manifest, ParameterSpec, WeightVisibility
from models.registry import architecture
from models.source import Source, read_json
from protocols.core.errors import BoundError, CheckpointError
from protocols.core.fixedpoint import FixedPointPolicy, encode
from protocols.families import BEAVER, Family, family

MANIFEST_NAME = "manifest.json"
CLIENT_NAME = "client.safetensors"
_CHUNK_BYTES = 1 << 20
_INT32, _INT64 = "I32", "I64"
_CLIENT_FILES = (
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Checkpoint:
    """A model in fixed point, still whole: only its owner ever holds one.

    tensors: int64 by parameter name, as in manifest.parameters. embeddings: with public weights, the float tables that
    the client looks up itself. labels: a classifier's, for the client too.
    """

    manifest: Manifest
    tensors: dict[str, Tensor]
    embeddings: dict[str, Tensor]
    labels: dict[int, str] = field(default_factory=dict)


def read_checkpoint(
    folder: Path | str,
    *,
    weights: WeightVisibility = "private",
    policy: FixedPointPolicy | None = None,
    head: bool = True,
) -> Checkpoint:
    """Read and check a checkpoint folder (config.json and safetensors).

    head: whether to read the head that `architectures` names, too; without it the model is the encoder alone.

    Raises CheckpointError for a folder that is none, an unsupported architecture or configuration value, a missing,
    unknown or misshapen tensor, and for numbers that are not finite or out of range.
    """
    folder, policy = Path(folder), policy or FixedPointPolicy()
    if weights not in ("private", "public"):
        raise CheckpointError(f"weights is 'private' or 'public', not {weights!r}")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is no checkpoint folder: it has no config.json")
    raw_config = read_json(folder / "config.json")
    kind = architecture(raw_config.get("model_type"))
    config = kind.parse(raw_config, head=head)
    source = Source(folder, kind, config)
    config = kind.fitted(config, source.__contains__)
    floats = kind.from_checkpoint(config, source.take)
    source.check_copies(kind.copies(config))
    source.check_all_taken()
    specs = kind.parameters(config, policy.fraction_bits, public=weights == "public")
    embeddings = {name: floats[name].to(torch.float32) for name in set(floats) - set(specs)}
    try:
        tensors = {name: _encode(name, floats[name], spec, policy) for name, spec in specs.items()}
    except BoundError as error:
        raise CheckpointError(str(error)) from None
    manifest = Manifest(str(raw_config["model_type"]), config.to_dict(), policy, weights, specs)
    return Checkpoint(manifest, tensors, embeddings, parse_labels(raw_config) if config.labels else {})


def _encode(name: str, tensor: Tensor, spec: ParameterSpec, policy: FixedPointPolicy) -> Tensor:
    bound_bits = TABLE_VALUE_BITS if spec.kind == "table" else policy.value_bits
    return encode(tensor, spec.fraction_bits, bound_bits=bound_bits, what=f"parameter {name!r}")


def _split(checkpoint: Checkpoint, family: Family) -> Iterable[dict[str, Tensor]]:
    """Shares of every tensor for each computing role; the same tensors each time where the weights are public."""
    stored = {
        name: tensor.to(torch.int32) if checkpoint.manifest.parameters[name].bits <= 32 else tensor
        for name, tensor in checkpoint.tensors.items()
    }
    return [stored] * len(family.computing) if checkpoint.manifest.weights == "public" else family.split(stored)


def write_split(checkpoint: Checkpoint, out_dir: Path | str, *, protocol: str = BEAVER.name) -> Manifest:
    """Write manifest.json and each computing party's ROLE.safetensors, readable by this user only.

    Returns the manifest, which names the protocol.

    With public weights the client looks its embeddings up itself, from client.safetensors. A classifier's labels are
    for the client, too.

    Raises CheckpointError when the folder cannot be written.
    """
    out_dir = Path(out_dir)
    digests, chosen = {}, family(protocol)
    try:
        out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role, shares in zip(chosen.computing, _split(checkpoint, chosen), strict=True):
            path = out_dir / f"{role}.safetensors"
            path.unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
            save_file({name: tensor.contiguous() for name, tensor in shares.items()}, path)
            path.chmod(0o600)
            digests[role] = file_digest(path)
        if checkpoint.embeddings:
            save_file(
                {name: table.contiguous() for name, table in checkpoint.embeddings.items()}, out_dir / CLIENT_NAME
            )
        if checkpoint.labels:
            write_labels(out_dir, checkpoint.labels)
        manifest = replace(checkpoint.manifest, share_digests=digests, protocol=protocol)
        (out_dir / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write the split checkpoint to {out_dir}: {error.strerror}") from None
    return manifest


def split_checkpoint(
    folder: Path | str,
    out_dir: Path | str,
    *,
    weights: WeightVisibility = "private",
    head: bool = True,
    protocol: str = BEAVER.name,
) -> Manifest:
    """Read a checkpoint; write share files, manifest and, for the client, files of its tokenizer or image processor."""
    manifest = write_split(read_checkpoint(folder, weights=weights, head=head), out_dir, protocol=protocol)
    for name in _CLIENT_FILES:
        if (Path(folder) / name).is_file():
            shutil.copyfile(Path(folder) / name, Path(out_dir) / name)
    return manifest


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a split checkpoint's folder. Raises CheckpointError."""
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} is no split checkpoint: it has no {MANIFEST_NAME}; make one with secure split")
    return Manifest.from_json(path.read_text(encoding="utf-8"))


class ShareFile(Mapping[str, Tensor]):
    """A party's tensors, each read when it is asked for: a model and its share file need not fit in memory together."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Raises CheckpointError when names, shapes or types are not those of the manifest."""
        self._path = path
        parts = () if manifest.weights == "public" else family(manifest.protocol).parts
        with safe_open(path, "pt") as file:
            if set(file.keys()) != set(manifest.parameters):
                raise CheckpointError(f"{path} holds other tensors than its manifest says")
            for name, spec in manifest.parameters.items():
                found, due = file.get_slice(name), _INT32 if spec.bits <= 32 else _INT64
                shape = (*parts, *spec.shape)
                if tuple(found.get_shape()) != shape or found.get_dtype() != due:
                    raise CheckpointError(f"{path}: tensor {name!r} is not {due} of shape {shape}")
        self._names = tuple(manifest.parameters)

    def __getitem__(self, name: str) -> Tensor:
        # Opened anew each time: while it is open, the whole file counts as this process's memory.
        with safe_open(self._path, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_share(path: Path | str, manifest: Manifest, role: str) -> ShareFile:
    """One party's tensors. Raises CheckpointError when the file is not the one that the manifest describes."""
    path = Path(path)
    try:
        digest = file_digest(path)
        if digest != manifest.share_digests.get(role):
            raise CheckpointError(f"{path} is not the share of {role} that the manifest describes (its hash differs)")
        return ShareFile(path, manifest)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            state.update(piece)
    return state.hexdigest()
