"""Folders that were changed, half copied, mixed or swapped are noticed, and so is a wrong key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.files.manifest import read_manifest
from secure.ee.files.sealing import decrypt_files, encrypt_files
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.verify import verify_checkpoint
from secure.models.checkpoint.folder import file_digest
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import save_llama


@pytest.fixture
def copy(encrypted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(encrypted, tmp_path / "copy")


def test_a_good_folder(encrypted: Path, base: Path, key: Key) -> None:
    assert [finding.what for finding in verify_checkpoint(encrypted)] == ["files", "manifest", "key"]
    findings = verify_checkpoint(encrypted, key=key, base=base)
    assert [finding.what for finding in findings] == ["files", "manifest", "key", "base"]


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "client.sealed", "model.safetensors"])
def test_each_file_is_covered(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[-2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name} is not the file that was encrypted"):
        verify_checkpoint(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"it has no {name}"):
        verify_checkpoint(copy)


def test_a_partly_encrypted_folder_is_noticed(base: Path, key: Key, tmp_path: Path) -> None:
    encrypt_checkpoint(base, key, tmp_path / "out", shard_bytes=20_000)
    mixed = next(path for path in (tmp_path / "out").glob("*.safetensors") if "lm_head.weight" in load_file(path))
    tensors, plain = load_file(mixed), load_file(base / "model.safetensors")
    save_file(tensors | {name: plain[name] for name in tensors if name in plain}, mixed, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="is not encrypted"):
        verify_checkpoint(tmp_path / "out")


def test_a_plain_file_beside_it_is_noticed(copy: Path, base: Path) -> None:
    shutil.copy(base / "tokenizer.json", copy)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json, which is not part"):
        verify_checkpoint(copy)


def test_a_manifest_that_was_made_to_fit_needs_the_key_to_be_noticed(copy: Path, key: Key) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = -tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    manifest = json.loads((copy / "encryption.json").read_text())
    manifest["files"][path.name] = file_digest(path)
    (copy / "encryption.json").write_text(json.dumps(manifest))
    verify_checkpoint(copy)
    with pytest.raises(CheckpointError, match="was changed after encryption"):
        verify_checkpoint(copy, key=key)


def test_a_wrong_key_is_told_by_its_check_value(encrypted: Path, key: Key) -> None:
    other = Key(key.secret[::-1])
    with pytest.raises(CheckpointError, match=f"wrong key: .*{key.check_value[:8]}.*{other.check_value[:8]}"):
        open_checkpoint(encrypted, other)


def test_another_base_is_told(encrypted: Path, key: Key, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_llama(other)
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] += torch.finfo(torch.float32).eps
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="is not the checkpoint that"):
        verify_checkpoint(encrypted, key=key, base=other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "secure-inference ee 9"}'])
def test_damaged_manifests_are_named(copy: Path, text: str) -> None:
    (copy / "encryption.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"encryption\.json"):
        read_manifest(copy)


def test_a_manifest_cannot_name_files_elsewhere(copy: Path) -> None:
    manifest = json.loads((copy / "encryption.json").read_text())
    manifest["files"]["../secret"] = "00"
    (copy / "encryption.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="outside its folder"):
        read_manifest(copy)


def test_sealed_files_open_with_their_key_alone(key: Key) -> None:
    files = {"a": b"\x00\xff", "b": b""}
    sealed = encrypt_files(key, files)
    assert decrypt_files(key, sealed) == files
    assert decrypt_files(key.rekeyed(), sealed) == files
    for wrong, data in ((Key(key.secret[::-1]), sealed), (key, sealed[:-1]), (key, b"")):
        with pytest.raises(CheckpointError, match="do not open"):
            decrypt_files(wrong, data)
    assert encrypt_files(key, files) != sealed
