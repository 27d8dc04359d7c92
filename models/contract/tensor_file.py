"""A safetensors file written one tensor at a time.

The format: 8 bytes with the header's length, little-endian; the header, JSON from tensor names to type, shape and
offsets; the tensors' bytes. Names, types and shapes are known before the first tensor is computed, so the header goes
first and each tensor is forgotten once it is written. The package safetensors wants all tensors of a file in memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError, ProtocolError

DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
"""Floating-point types and their names in the format."""
_NAMES = DTYPES | {torch.int32: "I32", torch.int64: "I64"}
_ALIGNMENT = 8
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class FileTensorSpec:
    """One tensor of a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        """Its size in a file."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A context manager: `write` each tensor once, in the order of `specs`. `digest` afterwards."""

    def __init__(self, path: Path, specs: Mapping[str, FileTensorSpec], *, private: bool = False) -> None:
        """private: readable by this user only. Raises FileExistsError, on entering, for a file that is there."""
        self._path = path
        self._specs = specs
        self._mode = 0o600 if private else 0o666
        self._left: list[str] = list(specs)[::-1]
        self._written = 0  # elements of the tensor whose turn it is
        self._hash = hashlib.sha256()
        self._file: BinaryIO

    def __enter__(self) -> Self:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, spec in self._specs.items():
            end = offset + spec.size_bytes
            header[name] = {"dtype": _NAMES[spec.dtype], "shape": spec.shape, "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % _ALIGNMENT)
        self._file = open(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, self._mode), "wb")
        self._put(len(text).to_bytes(8, "little") + text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._left:
            raise ProtocolError(f"{len(self._left)} tensors of {self._path.name} were not written")

    def write(self, name: str, tensor: Tensor) -> None:
        """Append a tensor, converted to its declared type. Raises CheckpointError when that type cannot hold it."""
        if name in self._specs and tuple(tensor.shape) != self._specs[name].shape:
            raise ProtocolError(
                f"tensor {name!r} has shape {tuple(tensor.shape)}, declared was {self._specs[name].shape}"
            )
        self.append(name, tensor)

    def append(self, name: str, part: Tensor) -> None:
        """The next elements of a tensor, in any shape. The next tensor's turn comes when it is complete."""
        if not self._left or name != self._left[-1]:
            raise ProtocolError(f"tensor {name!r} is out of turn in {self._path.name}")
        spec = self._specs[name]
        self._written += part.numel()
        if self._written > math.prod(spec.shape):
            raise ProtocolError(f"tensor {name!r} has more than the {math.prod(spec.shape)} elements declared")
        if self._written == math.prod(spec.shape):
            self._left.pop()
            self._written = 0
        stored = part.to(spec.dtype)
        # A NaN goes through aminmax, which is many times faster than asking each value.
        checked = spec.dtype.is_floating_point and stored.numel()
        if checked and not bool(torch.isfinite(torch.stack(torch.aminmax(stored))).all()):
            raise CheckpointError(
                f"tensor {name!r} is not finite in {DTYPES[spec.dtype]}; look at the checkpoint, or choose a wider type"
            )
        flat = stored.contiguous().view(-1).view(torch.uint8) if stored.numel() else torch.empty(0, dtype=torch.uint8)
        for start in range(0, len(flat), _CHUNK_BYTES):
            self._put(flat[start : start + _CHUNK_BYTES].numpy().data)

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
