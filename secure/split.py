"""Split folders as the API and the command line see them: share files, and tables for the client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.checkpoint import CLIENT_NAME, split_checkpoint
from models.manifest import Manifest, WeightVisibility
from models.program import network
from protocols.core.errors import CheckpointError


def split(checkpoint: Path, out_dir: Path, weights: WeightVisibility, *, head: bool = True) -> Manifest:
    """Write manifest.json, p0.safetensors, p1.safetensors, the tokenizer's files and the client's tables, if any.

    head: whether the head that `architectures` in config.json names is split along.

    Raises CheckpointError when the checkpoint is not one that we serve, or the folder holds a model already.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise CheckpointError(f"{out_dir} is not empty; choose another folder, so that no share file is overwritten")
    return split_checkpoint(checkpoint, out_dir, weights=weights, head=head)


def share_files(folder: Path) -> Mapping[str, Path] | None:
    """The two share files in a split folder; None when it has neither, so that the parties serve their own.

    Raises CheckpointError when there is only one of them.
    """
    files = {role: folder / f"{role}.safetensors" for role in ("p0", "p1")}
    present = [role for role, path in files.items() if path.is_file()]
    if len(present) == 1:
        raise CheckpointError(
            f"{folder} has the share of {present[0]} alone; a client needs both to upload them, or none when each "
            "party serves its own"
        )
    return files if present else None


def read_client_tables(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """The client's embedding tables of a split folder with public weights; of one with private weights, none.

    Raises CheckpointError when they are missing or do not fit the manifest.
    """
    if manifest.weights != "public":
        return {}
    path = folder / CLIENT_NAME
    due = network(manifest).tables
    try:
        tables = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}, which the client needs with public weights, cannot be read: {error}") from None
    if {name: tuple(table.shape) for name, table in tables.items()} != due:
        raise CheckpointError(f"{path} holds other tensors than its manifest asks for")
    return tables
