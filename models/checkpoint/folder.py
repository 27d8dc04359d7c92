"""A checkpoint's folder: its safetensors, in one file or in several with an index, and its JSON files.

Every reader of checkpoints stands on this one: what is wrong with a folder is refused here, by the name of file or
tensor.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secure.protocols.core.errors import CheckpointError

CONFIG_NAME = "config.json"
SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_PARALLEL, _COMPILED = "module.", "_orig_mod."
"""What DataParallel writes before every name, and torch.compile before those of the modules that it compiled."""
_log = logging.getLogger(__name__)


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

        Names lose what torch's wrappers of modules write before them, which is logged. A tensor may be in several
        files, as long as its numbers are the same.

        Raises CheckpointError for a folder that has no such files, for broken ones, for an index that names what is not
        in the folder, and for a tensor that is there twice with other numbers.
        """
        self.files = _weight_files(folder, single)
        self.stored: dict[str, StoredTensor] = {}
        headers = [found for path in self.files for found in _header(path)]
        for found in headers:
            name = name_of(_without_wrappers(found.key))
            other = self.stored.setdefault(name, found)
            if other is not found and not torch.equal(_read(other), _read(found)):
                raise CheckpointError(
                    f"{found.path}: tensor {found.key!r} is in the checkpoint twice, with other numbers as "
                    f"{other.key!r} of {other.path.name}; take out the one that is not meant"
                )
        wrapped = [found.key for found in headers if _without_wrappers(found.key) != found.key]
        if wrapped:
            _log.warning(
                "%s: the names of %d tensors have what DataParallel or torch.compile writes before them, such as %r; "
                "it is left out",
                folder,
                len(wrapped),
                wrapped[0],
            )

    def __call__(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, in that type or the one that it is stored in, copied once.

        Raises CheckpointError when there is none of that name.
        """
        if name not in self.stored:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}, which its configuration asks for")
        return _read(self.stored[name], dtype)

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
        # Two copies may be stored in two types; this one holds every number of all others.
        return torch.equal(self(copy, torch.float64), self(original, torch.float64))

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


def _read(stored: StoredTensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor in that type or its own, copied once. Raises CheckpointError when its file fails."""
    try:
        # Opened anew each time: while it is open, the whole file counts as this process's memory.
        with safe_open(stored.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(stored.key)
            return tensor.to(dtype or tensor.dtype, copy=True)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{stored.path} cannot be read any more: {error}") from None


def _without_wrappers(key: str) -> str:
    """The key as the module that was wrapped calls it, however often that was."""
    key = key.replace(_COMPILED, "")
    while key.startswith(_PARALLEL):
        key = key.removeprefix(_PARALLEL)
    return key


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
    pickled = sorted(path.name for kind in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{kind}"))
    if pickled:
        raise CheckpointError(
            f"{folder} has pickled weights ({pickled[0]}), which can run code when they are read, and no {single}; "
            f"where you trust their source, convert them: {_conversion(folder)}"
        )
    raise CheckpointError(f"{folder} has no {single}")


def _conversion(folder: Path) -> str:
    """The command that writes safetensors beside what transformers pickled."""
    named = read_json(folder / CONFIG_NAME).get("architectures") if (folder / CONFIG_NAME).is_file() else None
    kind = named[0] if isinstance(named, list) and named and str(named[0]).isidentifier() else "AutoModel"
    where = repr(str(folder))
    program = f"import transformers; transformers.{kind}.from_pretrained({where}).save_pretrained({where})"
    return f"python -c {shlex.quote(program)}"


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
