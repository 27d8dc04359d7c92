"""Prepared matrices on a disk, for models that are larger than a role's memory.

A product with a matrix is the sum of products with some of its rows each. `WeightFile.keep` cuts a matrix into such
blocks. Some stay in memory, evenly spread over the model; the others go to a file, encrypted. A product reads a block,
uses it and forgets it, while those that follow are already being read. The blocks are what would lie in memory
otherwise, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from secure.models.storage.block_file import BlockFile
from secure.models.storage.read_ahead import ReadAhead
from secure.protocols.core.factor import Factor, Prepared, keep_rows, prepare

BLOCK_BYTES = 1 << 24
"""A block's size, about: much for a disk to read at once, little enough for a processor's cache."""
FEWEST_BUFFERS = 4
"""Buffers for blocks that are read: the one in use and those that follow."""
_WORD_BYTES = 8
_ROWS = 16  # digits of fewer rows are padded to as many


@dataclass(frozen=True)
class Room:
    """Where a role keeps a model's matrices: in memory and on a disk, and buffers that the disk is read into."""

    memory_bytes: int
    disk_bytes: int = 0
    ahead_bytes: int = 0


class WeightFile:
    """Keeps the matrices of one model: `keep` each while loading, then `finish`. Products may come from any thread."""

    def __init__(self, folder: Path, room: Room, *, few_rows: bool = False) -> None:
        """few_rows: as for `secure.protocols.core.factor.prepare`.

        Raises CheckpointError when the folder has no such room.
        """
        self._file = BlockFile(folder, room.disk_bytes)
        self._room, self._few_rows = room, few_rows
        self._part_kept = room.memory_bytes / max(1, room.memory_bytes + room.disk_bytes)
        self._kept_bytes = self._seen_bytes = 0
        self._ahead: ReadAhead

    def keep(self, ys: Sequence[Tensor], bits: int) -> Factor:
        """Keep a matrix: `secure.protocols.core.factor.Keep`. Raises CheckpointError when the disk fails."""

        def block(parts: list[Tensor]) -> Factor:
            # A view of some rows would keep all of a matrix in memory.
            return self.place(prepare([part.clone() for part in parts], bits, few_rows=self._few_rows))

        most = BLOCK_BYTES // (_WORD_BYTES * sum(y.shape[1] for y in ys))
        return keep_rows(ys, most - most % _ROWS if most > _ROWS else most, block)

    def finish(self) -> None:
        """All matrices are kept: from here on they are read."""
        count = max(2, self._room.ahead_bytes // self._file.largest_bytes)
        self._ahead = ReadAhead(self._file.read, self._file.largest_bytes, min(count, self._file.blocks + 1))

    def place(self, block: Prepared) -> Factor:
        """Keep a block that is prepared already. Raises CheckpointError when the disk fails."""
        size = sum(tensor.nbytes for tensor in block.tensors)
        self._seen_bytes += size
        if self._kept_bytes + size <= min(self._room.memory_bytes, self._part_kept * self._seen_bytes):
            self._kept_bytes += size
            return block
        return _OnDisk(self, self._file.write(block.tensors), replace(block, tensors=()))

    def product(self, number: int, form: Prepared, xs: Sequence[Tensor], bits: int) -> Tensor:
        """A product with a block of the file. Raises CheckpointError when the disk fails."""
        with self._ahead.block(number) as buffer:
            return replace(form, tensors=self._file.tensors(number, buffer)).product(xs, bits)

    def copied(self, number: int, form: Prepared) -> Prepared:
        """A block of the file, in memory of its own. Raises CheckpointError when the disk fails."""
        with self._ahead.block(number) as buffer:
            return replace(form, tensors=tuple(tensor.clone() for tensor in self._file.tensors(number, buffer)))


@dataclass(frozen=True, eq=False)
class _OnDisk(Factor):
    """A block of the file. form: what it is, without its tensors."""

    file: WeightFile
    number: int
    form: Prepared

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        return self.file.product(self.number, self.form, xs, bits)

    def in_memory(self) -> Factor:
        return self.file.copied(self.number, self.form)
