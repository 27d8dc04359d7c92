"""How a model comes to the parties: from a checkpoint or module that is split here, or from a folder split before."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from secure.connection import Parties
from secure.models.checking import check_served
from secure.models.checkpoint.conversion import (
    MANIFEST_NAME,
    Checkpoint,
    read_checkpoint,
    read_manifest,
    write_split,
)
from secure.models.contract.labels import read_labels
from secure.models.contract.manifest import GRAPH, Manifest, WeightVisibility
from secure.models.program import network
from secure.progress import layer_bar, status
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.split import read_client_tables, share_files


@dataclass(frozen=True)
class Loaded:
    """A model that the parties hold, as its client knows it.

    tables: with public weights, those that the client looks up. labels: a classifier's, by their numbers. checkpoint:
    the model itself, where it was split here.
    """

    manifest: Manifest
    tables: Mapping[str, Tensor]
    load_seconds: float
    labels: Mapping[int, str] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None


def load_folder(
    folder: Path,
    parties: Parties,
    *,
    weights: WeightVisibility | None,
    policy: FixedPointPolicy | None,
    head: bool,
    stream_exponent: int | None,
    progress: bool | None,
) -> Loaded:
    """Load a checkpoint, or a folder that was split before and is what is asked for.

    Arguments and errors as for `PrivateModel.from_pretrained`.
    """
    if (folder / MANIFEST_NAME).is_file():
        manifest = read_manifest(folder)
        _check_split(folder, manifest, parties, weights, policy, head=head, stream_exponent=stream_exponent)
        return load_split(folder, manifest, parties, progress)
    with status("reading and checking the checkpoint", progress):
        checkpoint = read_checkpoint(
            folder, weights=weights or "private", policy=policy, head=head, stream_exponent=stream_exponent
        )
    return load_checkpoint(checkpoint, parties, progress)


def load_checkpoint(checkpoint: Checkpoint, parties: Parties, progress: bool | None) -> Loaded:
    """Split a model here and upload its shares.

    Raises ConfigurationError, before that, for what the parties' protocol does not serve.
    """
    check_served(checkpoint.manifest, parties.protocol)
    # Both share files together are the model: only this user may read them, and only while they are uploaded.
    with tempfile.TemporaryDirectory(prefix="secure-inference-") as temporary:
        with status("splitting the weights", progress):
            manifest = write_split(checkpoint, temporary, protocol=parties.protocol)
        load_seconds = _load(parties, manifest, share_files(Path(temporary), parties.protocol), progress)
    return Loaded(manifest, checkpoint.embeddings, load_seconds, checkpoint.labels, checkpoint)


def load_split(folder: Path, manifest: Manifest, parties: Parties, progress: bool | None) -> Loaded:
    """Load a folder that was split before. Where it lacks the share files, each party serves its own.

    manifest: the folder's.
    """
    tables, labels = read_client_tables(folder, manifest), read_labels(folder, manifest.config.get("labels", 0))
    shares = share_files(folder, manifest.protocol)
    try:
        return Loaded(manifest, tables, _load(parties, manifest, shares, progress), labels)
    except CheckpointError as error:
        if shares is None:
            raise
        raise CheckpointError(f"{folder}: {error}") from None  # a party does not know where an upload is from


def _check_split(
    folder: Path,
    manifest: Manifest,
    parties: Parties,
    weights: WeightVisibility | None,
    policy: FixedPointPolicy | None,
    *,
    head: bool,
    stream_exponent: int | None,
) -> None:
    """Raises CheckpointError for a folder that was split otherwise than is asked for."""
    if manifest.protocol != parties.protocol:
        raise CheckpointError(
            f"{folder} was split for the protocol {manifest.protocol!r}, these parties compute by "
            f"{parties.protocol!r}; split it again"
        )
    if manifest.architecture == GRAPH:
        raise CheckpointError(f"{folder} was split from a torch module; load it with PrivateModule.from_split")
    if weights not in (None, manifest.weights):
        raise CheckpointError(f"{folder} was split with {manifest.weights} weights, {weights} ones are asked for")
    if policy not in (None, manifest.policy):
        raise CheckpointError(f"{folder} was split for {manifest.policy}, not {policy}; split it again")
    if not head and network(manifest).whole_output == "logits":
        raise CheckpointError(f"{folder} was split with its head, the body alone is asked for; split it again")
    exponent = manifest.config.get("stream_exponent", 0)
    if stream_exponent not in (None, exponent):
        raise CheckpointError(
            f"{folder} was split with stream_exponent {exponent}, {stream_exponent} is asked for; split it again"
        )


def _load(parties: Parties, manifest: Manifest, shares: Mapping[str, Path] | None, progress: bool | None) -> float:
    """Have the parties hold the model, tensor by tensor. Returns the seconds that it took."""
    started = time.monotonic()
    with layer_bar(1, len(manifest.parameters), progress) as bar:
        parties.client.load_model(manifest, shares, bar.watch)
    return time.monotonic() - started
