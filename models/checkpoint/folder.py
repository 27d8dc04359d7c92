"""A checkpoint's folder: its safetensors, in one file or in several with an index, and its JSON files.

Every reader of checkpoints stands on this one: what is wrong with a folder is refused here, by the name of file or
tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secure.protocols.core.errors import CheckpointError

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor is, and what the file's header says of it. kind: its type by safetensors' name."""

    path: Path
    key: str
    shape: tuple[int, ...]
    kind: str


class CheckpointFolder:
    """The tensors of a folder by name, each read when it is asked for."""

    def __init__(self, folder: Path, single: str = SINGLE_NAME, name_of: Callable[[str], str] = str) -> None:
        """single: the file where there is one alone. name_of: what a tensor is called here, by its key in the file.

        Raises CheckpointError for a folder that has no such files, for broken ones, for an index that names what is not
        in the folder, and for a tensor that is there twice.
        """
        self.files = _weight_files(folder, single)
        self.stored: dict[str, StoredTensor] = {}
        for path in self.files:
            for found in _header(path):
                name = name_of(found.key)
                if name in self.stored:
                    raise CheckpointError(f"{path}: tensor {found.key!r} is in the checkpoint twice")
                self.stored[name] = found

    def __call__(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, in that type or the one that it is stored in, copied once.

        Raises CheckpointError when there is none of that name.
        """
        if name not in self.stored:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}, which its configuration asks for")
        found = self.stored[name]
        try:
            # Opened anew each time: while it is open, the whole file counts as this process's memory.
            with safe_open(found.path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(found.key)
                return tensor.to(dtype or tensor.dtype, copy=True)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{found.path} cannot be read any more: {error}") from None

    def due(self, name: str, shape: tuple[int, ...]) -> StoredTensor:
        """A tensor that config.json asks for. Raises CheckpointError when it is missing or has another shape."""
        if name not in self.stored:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}; config.json asks for one of shape {shape}")
        found = self.stored[name]
        if found.shape != shape:
            raise CheckpointError(f"tensor {name!r} has shape {found.shape}; config.json asks for {shape}")
        return found

    def same(self, copy: str, original: str) -> bool:
        """Whether two tensors hold the same numbers."""
        return torch.equal(self(copy), self(original))

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self.stored[name].path


def check_no_others(names: Iterable[str], consequence: str = "") -> None:
    """Raises CheckpointError, naming one, for tensors that an architecture does not know. consequence: of them."""
    left = sorted(names)
    if left:
        more = f"; {consequence}" if consequence else ""
        raise CheckpointError(
            f"the checkpoint has {len(left)} tensors that its architecture does not use, for example {left[0]!r}{more}"
        )


def _header(path: Path) -> list[StoredTensor]:
    """Every tensor of a file."""
    try:
        with safe_open(path, framework="pt") as file:
            parts = [(key, file.get_slice(key)) for key in file.keys()]  # noqa: SIM118 a safetensors file is no mapping
            return [StoredTensor(path, key, tuple(part.get_shape()), part.get_dtype()) for key, part in parts]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no safetensors file, or not a whole one: {error}") from None


def _weight_files(folder: Path, single: str) -> list[Path]:
    index = folder / INDEX_NAME
    if (folder / single).is_file():
        return [folder / single]
    if single == SINGLE_NAME and index.is_file():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise CheckpointError(f"{index}: weight_map does not give a file for every tensor")
        names = sorted(set(places.values()))
        if not names:
            raise CheckpointError(f"{index} names no files")
        for name in names:
            # A path would lead out of the folder that the user named.
            if Path(name).name != name or not (folder / name).is_file():
                raise CheckpointError(f"{index} names {name}, which is not in the folder")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise CheckpointError(
            f"{folder} has pickled weights, which can run code when they are read; save the model again with "
            "safe_serialization=True"
        )
    raise CheckpointError(f"{folder} has no {single}")


def read_json(path: Path) -> dict[str, Any]:
    """A file with one JSON object. Raises CheckpointError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no JSON object")
    return value


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises CheckpointError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
