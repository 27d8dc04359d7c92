"""The files of an encrypted checkpoint but its manifest: tensors, configurations, and what is sealed for the client."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from secure.ee.files.base import CONFIG_NAME, GENERATION_NAME, client_files, final_norm
from secure.ee.files.folder import Step, TensorFolder, write_json, write_tensors
from secure.ee.files.ids import encrypt_config, with_default_ids, without_ids
from secure.ee.files.manifest import SEALED_NAME
from secure.ee.files.sealing import encrypt_files
from secure.ee.files.transforms import vocabulary_tables
from secure.models.checkpoint.folder import file_digest, read_json
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.transform import Transform

CLIENT_TENSORS = "client.safetensors"
"""Split mode: embedding and head, in the client's folder alone."""


class Writer:
    """Writes the files of one checkpoint. Its methods return digests by file name."""

    def __init__(
        self,
        base: Path,
        config: Mapping[str, Any],
        key: Key,
        transform: Transform,
        tensors: TensorFolder,
        specs: Mapping[str, FileTensorSpec],
        progress: Step,
    ) -> None:
        """config: of the encrypted checkpoint, with the base's ids. specs: of the encrypted tensors."""
        self._base = base
        self._config = config
        self._key = key
        self._transform = transform
        self._tensors = tensors
        self._specs = specs
        self._progress = progress

    def whole(self, folder: Path, shard_bytes: int) -> dict[str, str]:
        """All for the server."""
        # First: an id that cannot be moved is told before anything large is computed.
        small = self._small_files(folder, split=False)
        digests = write_tensors(folder, self._specs, self._encrypt, progress=self._progress, shard_bytes=shard_bytes)
        return digests | small

    def split(self, folder: Path, client: Path, shard_bytes: int) -> tuple[dict[str, str], dict[str, str]]:
        """The server's files, and the client's."""
        small = self._small_files(folder, split=True)
        for name in small:
            shutil.copyfile(folder / name, client / name)
        tables = vocabulary_tables(self._transform)
        with TensorFile(client / CLIENT_TENSORS, {name: self._specs[name] for name in tables}) as file:
            for name in tables:
                file.write(name, self._encrypt(name))
        (client / CLIENT_TENSORS).chmod(0o600)
        tables_digest = file.digest
        specs = {
            name: FileTensorSpec((1, *spec.shape[1:]), spec.dtype) if name in tables else spec
            for name, spec in self._specs.items()
        }

        def compute(name: str) -> Tensor:
            return torch.zeros(specs[name].shape) if name in tables else self._encrypt(name)

        digests = write_tensors(folder, specs, compute, progress=self._progress, shard_bytes=shard_bytes)
        return digests | small, {CLIENT_TENSORS: tables_digest} | small

    def _encrypt(self, name: str) -> Tensor:
        return self._transform.encrypt(name, self._tensors)

    def _small_files(self, folder: Path, *, split: bool) -> dict[str, str]:
        config, vocabulary = dict(self._config), self._transform.vocabulary
        if vocabulary is not None:
            # Every architecture with a vocabulary that the plan took is one of transformers.
            defaults = AutoConfig.for_model(config["model_type"]).to_dict()
            config = with_default_ids(config, defaults, vocabulary.size)
        documents = {CONFIG_NAME: config}
        if (self._base / GENERATION_NAME).is_file():
            documents[GENERATION_NAME] = read_json(self._base / GENERATION_NAME)
        for name, document in documents.items():
            if split:
                moved = without_ids(_encrypted(name, document, None)) | (
                    {"vocab_size": 1} if name == CONFIG_NAME else {}
                )
            else:
                moved = _encrypted(name, document, vocabulary)
            write_json(folder / name, moved)
        sealed = client_files(self._base) | final_norm(self._transform, self._tensors)
        (folder / SEALED_NAME).write_bytes(encrypt_files(self._key, sealed))
        return {name: file_digest(folder / name) for name in (*documents, SEALED_NAME)}


def _encrypted(name: str, document: Mapping[str, Any], vocabulary: Vocabulary | None) -> dict[str, Any]:
    """What `encrypt_config` makes of a document, with the file's name in its errors."""
    try:
        return encrypt_config(document, vocabulary)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
