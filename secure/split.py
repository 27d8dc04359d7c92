"""Split folders as the API and the command line see them: share files, and tables for the client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from secure.models.checking import check_served
from secure.models.checkpoint.conversion import CLIENT_NAME, split_checkpoint
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError
from secure.protocols.families import DEFAULT, family


def split(
    checkpoint: Path,
    out_dir: Path,
    weights: WeightVisibility,
    *,
    head: bool = True,
    protocol: str = DEFAULT.name,
    stream_exponent: int | None = None,
    output_bits: int | None = None,
    checks_one_hot: bool = True,
) -> Manifest:
    """Write manifest.json, each computing party's share file, and for the client config.json, the tokenizer's files and
    tables, if any.

    head: whether the head that `architectures` in config.json names is split along. protocol: whose parties.
    stream_exponent: as for `PrivateModel.from_pretrained`. checks_one_hot: whether the parties make sure that clients
    choose one row of a private table for each token; without, they might read the table, and save about 1 % of what
    they send for it. output_bits: fraction bits that answers leave with, where clients are to get fewer
    than the policy's.

    Raises CheckpointError when the checkpoint is not one that we serve, or the folder holds a model already, and
    ConfigurationError, which names the operation, for one that the protocol does not serve.
    """
    check_folder(checkpoint, "a checkpoint")
    check_empty(out_dir)
    if not family(protocol).serves_all:
        check_served(manifest_of_folder(checkpoint, weights=weights, protocol=protocol, head=head), protocol)
    return split_checkpoint(
        checkpoint,
        out_dir,
        weights=weights,
        head=head,
        protocol=protocol,
        stream_exponent=stream_exponent,
        output_bits=output_bits,
        checks_one_hot=checks_one_hot,
    )


def check_folder(folder: Path, what: str) -> None:
    """Raises CheckpointError when there is no such folder. what: it should be, in words."""
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is no folder; it should be {what}. Download a model of the Hugging Face hub first: "
            "huggingface_hub.snapshot_download(name) gives its folder"
        )


def check_empty(out_dir: Path) -> None:
    """Raises CheckpointError when the folder has anything in it."""
    if out_dir.exists() and any(out_dir.iterdir()):
        raise CheckpointError(f"{out_dir} is not empty; choose another folder, so that no share file is overwritten")


def share_files(folder: Path, protocol: str = DEFAULT.name) -> Mapping[str, Path] | None:
    """The share files in a split folder; None when it has none, so that the parties serve their own.

    Raises CheckpointError when there are some of them only.
    """
    files = {role: folder / f"{role}.safetensors" for role in family(protocol).computing}
    present = [role for role, path in files.items() if path.is_file()]
    if 0 < len(present) < len(files):
        every = "both" if len(files) == 2 else "all"
        raise CheckpointError(
            f"{folder} has the share of {' and '.join(present)} alone; a client needs {every} to upload them, or none "
            "when each party serves its own"
        )
    return files if present else None


def read_client_tables(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """The client's embedding tables of a split folder: none with private weights, or of a model of images.

    Raises CheckpointError when they are missing or do not fit the manifest.
    """
    path, due = folder / CLIENT_NAME, network(manifest).tables
    if manifest.weights != "public" or not due:
        return {}
    try:
        tables = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}, which the client needs with public weights, cannot be read: {error}") from None
    if {name: tuple(table.shape) for name, table in tables.items()} != due:
        raise CheckpointError(f"{path} holds other tensors than its manifest asks for")
    return tables
