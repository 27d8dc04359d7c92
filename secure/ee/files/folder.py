"""Checkpoint folders as streams: one tensor in memory at a time, and an output that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secure.models.contract.tensor_file import DTYPES, TensorFile, TensorSpec
from secure.protocols.core.errors import CheckpointError, ConfigurationError

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
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


class TensorFolder:
    """The tensors of a folder's safetensors files, each read when it is asked for."""

    def __init__(self, folder: Path, single: str = SINGLE_NAME) -> None:
        """Raises CheckpointError for a folder that has no such files, or broken ones."""
        self.specs: dict[str, TensorSpec] = {}
        self.files = _weight_files(folder, single)
        self._places: dict[str, Path] = {}
        self._stored: dict[str, str] = {}
        for path in self.files:
            self._read_header(path)

    def __call__(self, name: str) -> Tensor:
        """One tensor, in the type that it is stored in. Raises CheckpointError when there is none of that name."""
        if name not in self._places:
            raise CheckpointError(f"the checkpoint has no tensor {name!r}, which its configuration asks for")
        try:
            # Opened anew each time: while it is open, the whole file counts as this process's memory.
            with safe_open(self._places[name], framework="pt") as file:
                tensor: Tensor = file.get_tensor(self._stored.get(name, name))
                return tensor.clone()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self._places[name]} cannot be read: {error}") from None

    def complete_names(self, due: Iterable[str], prefix: str) -> None:
        """Name tensors as `due` does where files leave out the body's prefix, as GPT-2's published ones do."""
        for name in due:
            short = name.removeprefix(prefix)
            if name not in self.specs and short in self.specs:
                self.specs[name], self._places[name] = self.specs.pop(short), self._places.pop(short)
                self._stored[name] = short

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._places[name]

    def _read_header(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 a safetensors file is not a mapping
                    found = file.get_slice(name)
                    if name in self.specs:
                        raise CheckpointError(f"{path.parent}: tensor {name!r} is in two files")
                    if name.endswith(_BUFFERS):
                        continue
                    kind = _BY_NAME.get(found.get_dtype())
                    if name.endswith(_COUNTER) and found.get_dtype() == "I64":
                        kind = torch.int64
                    if kind is None:
                        raise CheckpointError(
                            f"tensor {name!r} is stored as {found.get_dtype()}: a quantised checkpoint cannot be "
                            "encrypted; encrypt the unquantised one first, then quantise"
                        )
                    self.specs[name] = TensorSpec(tuple(found.get_shape()), kind)
                    self._places[name] = path
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is no whole safetensors file: {error}") from None


def _weight_files(folder: Path, single: str) -> list[Path]:
    if (folder / single).is_file():
        return [folder / single]
    if single == SINGLE_NAME and (folder / INDEX_NAME).is_file():
        places = read_json(folder / INDEX_NAME).get("weight_map")
        names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
        if not names:
            raise CheckpointError(f"{folder / INDEX_NAME} names no files")
        for name in names:
            if Path(name).name != name or not (folder / name).is_file():
                raise CheckpointError(f"{folder / INDEX_NAME} names {name}, which is not in the folder")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise CheckpointError(
            f"{folder} has pickled weights, which can run code when they are read; save the model again with "
            "safe_serialization=True"
        )
    raise CheckpointError(f"{folder} has no {single}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no JSON object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """In the form that transformers uses."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises CheckpointError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def write_tensors(
    folder: Path,
    specs: Mapping[str, TensorSpec],
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


def _shards(specs: Mapping[str, TensorSpec], limit: int) -> list[list[str]]:
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
                _flush(path)
            temporary.rename(out)
            _flush(out.parent)
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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
