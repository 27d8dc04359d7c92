"""An encrypted checkpoint opened with its key: manifest, tokenizer, configuration, and the transform of the key."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from secure.ee.files.base import CONFIG_NAME, FINAL_NORM_NAME, GENERATION_NAME, TOKENIZER_FILES
from secure.ee.files.manifest import MANIFEST_NAME, SEALED_NAME, EncryptionManifest, parse_manifest, read_manifest
from secure.ee.files.sealing import decrypt_files
from secure.ee.files.transforms import planned
from secure.models.families.defaults import with_defaults
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.transform import Transform
from secure.tokens import load_tokenizer


@dataclass(frozen=True)
class SealedFiles:
    """The plain files that were sealed with a checkpoint, by name."""

    files: Mapping[str, bytes]

    @classmethod
    def open(cls, folder: Path, key: Key) -> SealedFiles:
        """Raises CheckpointError when they are missing, changed, or under another key."""
        try:
            data = (folder / SEALED_NAME).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{folder / SEALED_NAME} cannot be read: {error.strerror}") from None
        return cls(decrypt_files(key, data))

    @property
    def config(self) -> dict[str, Any]:
        """The base's config.json with transformers' defaults for what it lacks."""
        return dict(with_defaults(self._json(CONFIG_NAME)))

    @property
    def generation_config(self) -> dict[str, Any]:
        """The base's generation_config.json; empty where it has none."""
        return self._json(GENERATION_NAME)

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The base's tokenizer, None where it has none."""
        with tempfile.TemporaryDirectory(prefix="secure-inference-") as temporary:
            for name in TOKENIZER_FILES:
                if name in self.files:
                    (Path(temporary) / name).write_bytes(self.files[name])
            # Some tokenizers are recognised by the model's kind.
            (Path(temporary) / CONFIG_NAME).write_bytes(self.files[CONFIG_NAME])
            return load_tokenizer(Path(temporary))

    def _json(self, name: str) -> dict[str, Any]:
        value = json.loads(self.files.get(name, b"{}"))
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class OpenedCheckpoint:
    """One key's view of one encrypted checkpoint. Make it with `open_checkpoint`."""

    folder: Path
    manifest: EncryptionManifest
    files: SealedFiles
    key: Key

    @cached_property
    def config(self) -> dict[str, Any]:
        """The base's config.json."""
        return self.files.config

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """The base's generation_config.json."""
        return self.files.generation_config

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The base's tokenizer, with the base's ids."""
        return self.files.tokenizer()

    @cached_property
    def transform(self) -> Transform:
        """The transform between the base and what the server has."""
        return planned(self.manifest, self.config, self.key)

    @cached_property
    def _gain(self) -> Mapping[str, Tensor]:
        data = self.files.files.get(FINAL_NORM_NAME)
        return {} if data is None else load(data)

    def final_norm(self, hidden: Tensor) -> Tensor:
        """What the base's last normalisation multiplies and adds, where encryption folded it into the head.

        Shapes: [..., D] in the base's basis -> same.
        """
        for name, act in (("weight", torch.mul), ("bias", torch.add)):
            if name in self._gain:
                hidden = act(hidden, self._gain[name].to(hidden.dtype))
        return hidden

    def check_served(self, manifest: str) -> None:
        """Raises CheckpointError unless the text of a server's manifest is of this checkpoint, under this key."""
        try:
            served = parse_manifest(manifest)
        except CheckpointError as error:
            raise CheckpointError(f"the server's {MANIFEST_NAME}: {error}") from None
        served.check_key(self.key)
        self.manifest.check_same_model(served, "the server")

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The permutation of ids; None for models that take none, and keys that leave ids alone."""
        return self.transform.vocabulary


def open_checkpoint(folder: Path, key: Key) -> OpenedCheckpoint:
    """What a client needs of an encrypted folder: encryption.json and client.sealed; the tensors are not read.

    Raises CheckpointError for a folder that is not encrypted, a wrong key, and changed files.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; it should be one made by: secure ee encrypt")
    manifest = read_manifest(folder)
    manifest.check_key(key)
    manifest.check_file(folder, SEALED_NAME)
    return OpenedCheckpoint(folder, manifest, SealedFiles.open(folder, key), key)
