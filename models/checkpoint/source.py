"""The tensors and the JSON files of a Hugging Face checkpoint folder, in one safetensors file or in several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secure.models.contract.architecture import Architecture
from secure.models.contract.deferred import Deferred
from secure.models.contract.tensor_file import DTYPES
from secure.protocols.core.errors import CheckpointError

_FLOATS = set(DTYPES.values())
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Source:
    """The tensors of a checkpoint folder, each taken once."""

    def __init__(self, folder: Path, kind: Architecture, config: Any) -> None:
        self._places: dict[str, tuple[Path, str]] = {}
        for path in _weight_files(folder):
            try:
                with safe_open(path, framework="pt") as file:
                    keys = list(file.keys())
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} is no safetensors file: {error}") from None
            for key in keys:
                name = _current_name(key.removeprefix(next(filter(key.startswith, kind.prefixes), "")))
                if name in self._places:
                    raise CheckpointError(f"{path}: tensor {key!r} is in the checkpoint twice")
                self._places[name] = path, key
        self._left = {key for key in self._places if not key.startswith(kind.ignored(config))}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def take(self, key: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
        """The tensor in that type, to be read when it is wanted: see `Deferred`.

        Raises CheckpointError when it is missing or has another shape or type; the file's header tells.
        """
        if key not in self._places:
            raise CheckpointError(f"the checkpoint has no tensor {key!r}; config.json asks for one of shape {shape}")
        path, stored_key = self._places[key]
        with safe_open(path, framework="pt") as file:
            found = file.get_slice(stored_key)
            stored_shape, stored_type = tuple(found.get_shape()), found.get_dtype()
        if stored_shape != shape:
            raise CheckpointError(f"tensor {key!r} has shape {stored_shape}; config.json asks for {shape}")
        if stored_type not in _FLOATS:
            raise CheckpointError(f"tensor {key!r} has type {stored_type}; floating point is supported")
        self._left.discard(key)
        return Deferred.of(shape, lambda: self._read(key).to(dtype), dtype)

    def check_copies(self, copies: Mapping[str, str]) -> None:
        """Raises CheckpointError for a stored copy, by the name of its original, that is none."""
        for copy, original in copies.items():
            if copy in self and not torch.equal(self._read(copy), self._read(original)):
                raise CheckpointError(f"tensor {copy!r} differs from {original!r}; supported are tied weights")
            self._left.discard(copy)

    def _read(self, key: str) -> Tensor:
        path, stored_key = self._places[key]
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(stored_key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read any more: {error}") from None
        return tensor

    def check_all_taken(self) -> None:
        """Raises CheckpointError naming a tensor that the architecture does not know."""
        if self._left:
            raise CheckpointError(
                f"the checkpoint has {len(self._left)} tensors that its architecture does not use, "
                f"for example {min(self._left)!r}"
            )


def _current_name(key: str) -> str:
    """Checkpoints that once came from TensorFlow, bert-base-uncased among them, call a norm's tensors gamma, beta."""
    for old, new in _RENAMED.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        places = read_json(index).get("weight_map", {})
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise CheckpointError(f"{index}: weight_map does not give a file for every tensor")
        names = sorted(set(places.values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise CheckpointError(f"{index} names {missing[0] if missing else 'no files'}, which is not there")
        return [folder / name for name in names]
    raise CheckpointError(f"{folder} has no model.safetensors; save the model with safe_serialization=True")


def read_json(path: Path) -> dict[str, Any]:
    """A file with one JSON object. Raises CheckpointError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no JSON object")
    return value
