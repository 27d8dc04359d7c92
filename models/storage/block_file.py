"""Blocks of tensors in a nameless, encrypted file: memory that a role does not have.

Shares, masks and weights must not lie on a disk. So the file holds nothing but their encryption, by AES-128 in counter
mode under a key that is drawn for this file and exists in this process's memory alone. Every block has a nonce of its
own and is written once. The file has no name and is gone with the process; what sectors still hold then is uniform to
everybody, as nobody has the key. Nothing is authenticated: the disk is the role's own.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from secure.models.contract.tensor_file import FileTensorSpec
from secure.models.storage import system
from secure.protocols.core.aes import NONCE_BYTES, counter_mode
from secure.protocols.core.errors import CheckpointError

_KEY_BYTES = 16
_PAGE_BYTES = 4096  # a multiple of what disks are read by
_TENSOR_ALIGNMENT = 64
_REQUEST_BYTES = 1 << 20  # of the disk at a time: larger requests were slower


@dataclass(frozen=True)
class _Place:
    """Where a block lies in the file, and of which tensors it consists."""

    offset: int
    size_bytes: int
    tensors: tuple[FileTensorSpec, ...]


class BlockFile:
    """Each block is written once, by one thread; read as often as wanted, by any."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        """size_bytes: reserved on the folder's disk now. Raises CheckpointError when it has no room."""
        self._folder = folder
        self._key = os.urandom(_KEY_BYTES)
        self._places: list[_Place] = []
        with self._disk("written"):
            file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
            weakref.finalize(self, file.close)
            self._descriptor = file.fileno()
            system.reserve(self._descriptor, max(1, size_bytes))
        # The cache would fill the memory that there is too little of, and is slower.
        system.pass_by_cache(self._descriptor)

    @property
    def blocks(self) -> int:
        """How many were written."""
        return len(self._places)

    @property
    def largest_bytes(self) -> int:
        """What a buffer needs for any of them."""
        return max((place.size_bytes for place in self._places), default=_PAGE_BYTES)

    def write(self, tensors: Sequence[Tensor]) -> int:
        """Append a block. Returns its number. Raises CheckpointError when the disk fails."""
        number, specs = self.blocks, tuple(FileTensorSpec(tuple(t.shape), t.dtype) for t in tensors)
        offset = self._places[-1].offset + self._places[-1].size_bytes if self._places else 0
        size = sum(_rounded(spec.size_bytes, _TENSOR_ALIGNMENT) for spec in specs)
        self._places.append(_Place(offset, _rounded(size, _PAGE_BYTES), specs))
        buffer = new_buffer(self._places[-1].size_bytes)
        for view, tensor in zip(self.tensors(number, buffer), tensors, strict=True):
            view.copy_(tensor)
        self._crypt(number, buffer)
        with self._disk("written"):
            self._transfer(os.pwrite, number, buffer)
        return number

    def read(self, number: int, buffer: mmap.mmap) -> None:
        """Fill a buffer with a block. Raises CheckpointError when the disk fails."""
        with self._disk("read back"):
            self._transfer(lambda file, part, at: os.preadv(file, [part], at), number, buffer)
        self._crypt(number, buffer)

    def tensors(self, number: int, buffer: mmap.mmap) -> tuple[Tensor, ...]:
        """Views of what was read."""
        raw, start, found = torch.frombuffer(buffer, dtype=torch.uint8), 0, []
        for spec in self._places[number].tensors:
            found.append(raw[start : start + spec.size_bytes].view(spec.dtype).reshape(spec.shape))
            start += _rounded(spec.size_bytes, _TENSOR_ALIGNMENT)
        return tuple(found)

    def _crypt(self, number: int, buffer: mmap.mmap) -> None:
        """Encrypt a block, or decrypt it."""
        data = np.frombuffer(buffer, dtype=np.uint8, count=self._places[number].size_bytes)
        counter_mode(self._key).apply(number.to_bytes(NONCE_BYTES, "big"), data)

    def _transfer(self, move: Callable[[int, memoryview, int], int], number: int, buffer: mmap.mmap) -> None:
        """All of a block, from buffer to file or back."""
        place, done = self._places[number], 0
        view = memoryview(buffer)[: place.size_bytes]
        while done < place.size_bytes:
            moved = move(self._descriptor, view[done : done + _REQUEST_BYTES], place.offset + done)
            if moved == 0:
                raise OSError(errno.EIO, "the file ends early")
            done += moved

    @contextmanager
    def _disk(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"the part of a model that is not kept in memory cannot be {what} in {self._folder}: "
                f"{error.strerror or error}; TMPDIR names another folder for it"
            ) from None


def new_buffer(size_bytes: int) -> mmap.mmap:
    """Memory of whole pages, which a disk reads and writes directly."""
    buffer = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    system.ask_for_large_pages(buffer)
    return buffer


def _rounded(count: int, multiple: int) -> int:
    return math.ceil(count / multiple) * multiple
