"""The tensors of a checkpoint by the names of an architecture, each taken once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from secure.models.checkpoint.folder import CheckpointFolder, check_no_others
from secure.models.contract.architecture import Architecture
from secure.models.contract.deferred import DeferredTensor
from secure.models.contract.tensor_file import DTYPES
from secure.protocols.core.errors import CheckpointError

_FLOATS = set(DTYPES.values())
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class CheckpointReader:
    """What `Architecture.from_checkpoint` takes its tensors from."""

    def __init__(self, folder: Path, kind: Architecture) -> None:
        """Raises CheckpointError for a folder that cannot be read."""

        def name_of(key: str) -> str:
            return _current_name(key.removeprefix(next(filter(key.startswith, kind.prefixes), "")))

        self._folder = CheckpointFolder(folder, name_of=name_of)
        self._left = set(self._folder.stored)

    def __contains__(self, name: str) -> bool:
        return name in self._folder.stored

    def same(self, copy: str, original: str) -> bool:
        """Whether two tensors hold the same numbers. Raises CheckpointError when one of them is missing."""
        return self._folder.same(copy, original)

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
        """The tensor in that type, to be read when it is wanted: see `DeferredTensor`.

        Raises CheckpointError when it is missing or has another shape or type; the file's header tells.
        """
        kind = self._folder.due(name, shape).kind
        if kind not in _FLOATS:
            raise CheckpointError(f"tensor {name!r} has type {kind}; floating point is supported")
        self._left.discard(name)
        return DeferredTensor.of(shape, lambda: self._folder(name, dtype), dtype)

    def check_copies(self, copies: Mapping[str, str]) -> None:
        """Raises CheckpointError for a stored copy, by the name of its original, that is none."""
        for copy, original in copies.items():
            if copy in self and not self._folder.same(copy, original):
                raise CheckpointError(f"tensor {copy!r} differs from {original!r}; supported are tied weights")
            self._left.discard(copy)

    def check_all_taken(self, ignored: tuple[str, ...]) -> None:
        """Raises CheckpointError naming a tensor that the architecture does not know. ignored: as it says."""
        check_no_others(name for name in self._left if not name.startswith(ignored))


def _current_name(key: str) -> str:
    """Checkpoints that once came from TensorFlow, bert-base-uncased among them, call a norm's tensors gamma, beta."""
    for old, new in _RENAMED.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key
