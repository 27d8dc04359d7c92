"""The manifest of a model whose weights nobody has read: from its config.json, and the names in its files' headers.

It says all that a session costs. What only the numbers in tensors tell is as in most checkpoints: that a tied head is
no other one, and that no embeddings are so small that they are held more finely, which takes a round more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from secure.models.checkpoint.conversion import MANIFEST_NAME, read_manifest
from secure.models.checkpoint.folder import CONFIG_NAME, read_json
from secure.models.checkpoint.reader import CheckpointReader
from secure.models.contract.architecture import Stored
from secure.models.contract.manifest import Manifest, WeightVisibility
from secure.models.families.registry import architecture
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Visibility
from secure.protocols.families import DEFAULT, family, those_with


def manifest_of_folder(
    folder: Path | str, *, weights: WeightVisibility = "private", protocol: str = DEFAULT.name, head: bool = True
) -> Manifest:
    """The manifest of a checkpoint folder; of one that is split already, its own, whatever else is asked for.

    A folder with config.json alone will do: its tensors are then taken to be those that the configuration names.

    Raises CheckpointError for a folder of neither kind, for what is not served, and for weights that the protocol does
    not have.
    """
    folder = Path(folder)
    if (folder / MANIFEST_NAME).is_file():
        return read_manifest(folder)
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(f"{folder} is no checkpoint folder: it has no {CONFIG_NAME} and no {MANIFEST_NAME}")
    raw = read_json(folder / CONFIG_NAME)
    stored = None
    if any(folder.glob("*.safetensors")):
        stored = _Names(CheckpointReader(folder, architecture(raw.get("model_type"))))
    return manifest_of_config(raw, weights=weights, protocol=protocol, head=head, stored=stored)


def manifest_of_config(
    raw: Mapping[str, Any],
    *,
    weights: WeightVisibility = "private",
    protocol: str = DEFAULT.name,
    head: bool = True,
    stored: Stored | None = None,
) -> Manifest:
    """The manifest for a config.json. stored: the tensors, where some of a model's parts are optional.

    Raises CheckpointError for what is not served, and for weights that the protocol does not have.
    """
    visibility = Visibility(weights)
    if visibility not in family(protocol).weights:
        serving = those_with(lambda each: visibility in each.weights)
        raise CheckpointError(f"weights={weights!r} is for the protocol {serving}, not {protocol!r}")
    policy, kind = FixedPointPolicy(), architecture(raw.get("model_type"))
    config = kind.parse(raw, head=head)
    if stored is not None:
        config = kind.fitted(config, stored)
    parameters = kind.parameters(config, policy.fraction_bits, public=weights == "public")
    manifest = Manifest(str(raw["model_type"]), config.to_dict(), policy, weights, parameters)
    return replace(manifest, protocol=family(protocol).name)


class _Names(Stored):
    """The names of a checkpoint's tensors. What is stored a second time counts as a copy, as no numbers are read."""

    def __init__(self, reader: CheckpointReader) -> None:
        self._reader = reader

    def __contains__(self, name: str) -> bool:
        return name in self._reader

    def same(self, copy: str, original: str) -> bool:
        return original in self._reader
