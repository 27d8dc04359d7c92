"""Back from an encrypted checkpoint to a plain one, and on to another vocabulary."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from secure.ee.files.base import CONFIG_NAME, FINAL_NORM_NAME, GENERATION_NAME, base_seal
from secure.ee.files.checkpoint import SealedFiles
from secure.ee.files.folder import (
    SHARD_BYTES,
    Step,
    TensorFolder,
    check_is_new,
    new_folder,
    no_progress,
    write_json,
    write_tensors,
)
from secure.ee.files.ids import decrypt_config, encrypt_config
from secure.ee.files.manifest import EncryptionManifest, read_manifest
from secure.ee.files.transforms import planned, vocabulary_tables
from secure.models.checkpoint.folder import file_digest, read_json
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key


@dataclass(frozen=True)
class Decrypted:
    """What came out."""

    tensors: int
    same_bits: bool
    """Whether every bit of every tensor is the base's, which keys of permutations give."""


def decrypt_checkpoint(
    folder: Path, key: Key, out: Path, *, shard_bytes: int = SHARD_BYTES, progress: Step = no_progress
) -> Decrypted:
    """Write a plain checkpoint with its tokenizer that computes what the base computed. Only this user may enter it.

    Gains of normalisations stay folded into the weights that read them, and what was rounded stays rounded.

    Raises CheckpointError for a wrong key and a tampered folder, ConfigurationError for an output that exists.
    """
    check_is_new(out)
    manifest = opened(folder, key)
    if manifest.mode != "checkpoint":
        raise CheckpointError(
            f"{folder} is of mode {manifest.mode!r} and holds a part of the model only; keep the base"
        )
    client = SealedFiles.open(folder, key)
    transform = planned(manifest, client.config, key)
    tensors = TensorFolder(folder)
    largest = max(tensors.specs.values(), key=lambda spec: spec.size_bytes)
    specs = {
        name: FileTensorSpec(tuple(shape), tensors.specs.get(name, largest).dtype)
        for name, shape in transform.base_tensors.items()
    }
    with new_folder(out, private=True) as target:
        write_tensors(
            target,
            specs,
            lambda name: transform.decrypt(name, tensors),
            progress=progress,
            shard_bytes=shard_bytes,
        )
        for name, data in client.files.items():
            if name != FINAL_NORM_NAME:
                (target / name).write_bytes(data)
        found = base_seal(TensorFolder(target), specs, key, progress)
    return Decrypted(len(specs), found == manifest.base_seal)


def rekey_checkpoint(
    folder: Path, key: Key, out: Path, *, progress: Step = no_progress
) -> tuple[Key, EncryptionManifest]:
    """Move an encrypted checkpoint to the next vocabulary: embedding, head and ids move, all else is copied.

    A server that keeps both folders can align them row by row, because rows keep their values: it learns how the two
    vocabularies map to each other, and what it knows of one it knows of the other. This ends the use of an id table
    that traffic has worn out towards others, or towards a server that deletes the old folder; it undoes nothing.

    Returns the new key, which has the same secret and the next epoch, and the new manifest. Raises as
    `decrypt_checkpoint`.
    """
    check_is_new(out)
    manifest = opened(folder, key)
    if manifest.mode != "checkpoint" or "vocabulary" not in manifest.factors:
        raise CheckpointError(f"{folder} has no encrypted vocabulary that could be rekeyed")
    config, new_key = SealedFiles.open(folder, key).config, key.rekeyed()
    before, after = (planned(manifest, config, each) for each in (key, new_key))
    tensors, tables = TensorFolder(folder), set(vocabulary_tables(after))
    total, done = sum(spec.size_bytes for spec in tensors.specs.values()), 0

    digests = dict(manifest.files)
    with new_folder(out) as target:
        for path in tensors.files:
            names = [name for name in tensors.specs if tensors.file_of(name) == path]
            if tables.isdisjoint(names):
                shutil.copyfile(path, target / path.name)
                done += sum(tensors.specs[name].size_bytes for name in names)
                continue
            with TensorFile(target / path.name, {name: tensors.specs[name] for name in names}) as file:
                for name in names:
                    progress(name, done, total)
                    file.write(name, before.rekey(name, tensors, after))
                    done += tensors.specs[name].size_bytes
            digests[path.name] = file.digest
        for name in set(manifest.files) - {path.name for path in tensors.files}:
            if name in (CONFIG_NAME, GENERATION_NAME):
                plain = decrypt_config(read_json(folder / name), before.vocabulary)
                write_json(target / name, encrypt_config(plain, after.vocabulary))
                digests[name] = file_digest(target / name)
            else:
                shutil.copyfile(folder / name, target / name)
        progress("done", total, total)
        rekeyed = replace(manifest, files=digests, key_check=new_key.check_value, epoch=new_key.epoch).sealed(new_key)
        rekeyed.save(target)
    return new_key, rekeyed


def opened(folder: Path, key: Key) -> EncryptionManifest:
    """The manifest of a folder whose key and files were checked. Raises CheckpointError."""
    manifest = read_manifest(folder)
    manifest.check_key(key)
    manifest.check_files(folder)
    return manifest
