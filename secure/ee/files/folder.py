"""Checkpoint folders as streams: one tensor in memory at a time, and an output that appears whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secure.models.checkpoint.folder import INDEX_NAME, SINGLE_NAME, CheckpointFolder, StoredTensor, file_digest
from secure.models.contract.tensor_file import DTYPES, FileTensorSpec, TensorFile
from secure.protocols.core.errors import CheckpointError, ConfigurationError

SHARD_BYTES = 5 * 10**9
"""Most bytes in one file, as transformers does by default; one tensor alone may be larger."""
_CHUNK_BYTES = 1 << 20
# What old versions of transformers saved beside the weights and new ones compute: positions, causal masks, rotations.
_BUFFERS = ("position_ids", ".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
# A whole number that BatchNorm keeps and inference does not use; loaders miss it where it is left out.
_COUNTER = ".num_batches_tracked"
_BY_NAME = {name: dtype for dtype, name in DTYPES.items()}

Step = Callable[[str, int, int], None]
"""Progress: what is being done, bytes done, bytes in all."""


def no_progress(what: str, done: int, total: int) -> None:
    """Shows nothing."""


class TensorFolder(CheckpointFolder):
    """The tensors that a key moves, each read when it is asked for. specs: their shapes and types by name."""

    def __init__(self, folder: Path, single: str = SINGLE_NAME) -> None:
        """Raises CheckpointError as `CheckpointFolder` does, and for quantised weights."""
        super().__init__(folder, single)
        self.specs = {name: _spec(name, found) for name, found in self.stored.items() if not name.endswith(_BUFFERS)}

    def complete_names(self, due: Iterable[str], prefix: str) -> None:
        """Name tensors as `due` does where files leave out the body's prefix, as GPT-2's published ones do."""
        for name in due:
            short = name.removeprefix(prefix)
            if name not in self.specs and short in self.specs:
                self.specs[name], self.stored[name] = self.specs.pop(short), self.stored.pop(short)

    def add_copy(self, copy: str, original: str) -> None:
        """Name a tensor that is there a second time, where nothing has that name yet."""
        if copy not in self.specs and original in self.specs:
            self.specs[copy], self.stored[copy] = self.specs[original], self.stored[original]

    def leave_out(self, name: str) -> None:
        """Forget a tensor."""
        del self.specs[name], self.stored[name]


def _spec(name: str, found: StoredTensor) -> FileTensorSpec:
    kind = torch.int64 if name.endswith(_COUNTER) and found.kind == "I64" else _BY_NAME.get(found.kind)
    if kind is None:
        raise CheckpointError(
            f"tensor {name!r} is stored as {found.kind}: a quantised checkpoint cannot be encrypted; encrypt the "
            "unquantised one first, then quantise"
        )
    return FileTensorSpec(found.shape, kind)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object in the form that transformers uses."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tensors(
    folder: Path,
    specs: Mapping[str, FileTensorSpec],
    compute: Callable[[str], Tensor],
    *,
    progress: Step = no_progress,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, str]:
    """Write all tensors of a checkpoint, in order, each computed when its turn comes. Digests by file name."""
    shards = _shards(specs, shard_bytes)
    total, done = sum(spec.size_bytes for spec in specs.values()), 0
    digests, places = {}, {}
    for number, names in enumerate(shards, 1):
        file_name = SINGLE_NAME if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        with TensorFile(folder / file_name, {name: specs[name] for name in names}) as file:
            for name in names:
                progress(name, done, total)
                file.write(name, compute(name))
                done += specs[name].size_bytes
                places[name] = file_name
        digests[file_name] = file.digest
    progress("done", total, total)
    if len(shards) > 1:
        write_json(folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": places})
        digests[INDEX_NAME] = file_digest(folder / INDEX_NAME)
    return digests


def _shards(specs: Mapping[str, FileTensorSpec], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if shards[-1] and size + spec.size_bytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += spec.size_bytes
    return shards


@contextmanager
def new_folder(out: Path, *, private: bool = False) -> Iterator[Path]:
    """A folder to write into, which gets the name `out` when the block ends well, and is removed when it does not.

    private: only this user may enter it. Raises ConfigurationError when `out` has something in it or cannot be made.
    """
    check_is_new(out)
    # Beside its destination, hence on the same file system: a rename is then one step.
    temporary = out.parent / f".{out.name}.unfinished-{secrets.token_hex(4)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(mode=0o700 if private else 0o777)
        try:
            yield temporary
            for path in temporary.iterdir():
                flush(path)
            temporary.rename(out)
            flush(out.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror or error}") from None


def check_is_new(out: Path) -> None:
    """Raises ConfigurationError when there is something at `out` already, other than an empty folder."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigurationError(f"{out} exists and is no folder; choose another name")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigurationError(f"{out} is not empty; choose another folder, so that nothing is overwritten")


def flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder. Where folders cannot be flushed, as on Windows, nothing."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
