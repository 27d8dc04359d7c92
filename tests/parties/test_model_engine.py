"""How a party finds its own share on disk, and what it refuses before it computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.manifest import Manifest
from parties.model_engine import ModelEngine
from protocols.core.errors import CheckpointError
from protocols.core.fixedpoint import FixedPointPolicy


def write_model(folder: Path, name: str) -> Manifest:
    manifest = Manifest(name, {}, FixedPointPolicy(), "private", {}, {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "p1.safetensors").write_bytes(b"")
    return manifest


@pytest.mark.parametrize("inside", [".", "some model"])
def test_a_share_is_found_by_the_digest_of_its_manifest(tmp_path: Path, inside: str) -> None:
    write_model(tmp_path / "another", "other")
    manifest = write_model(tmp_path / inside, "wanted")
    engine = ModelEngine()
    assert engine.find_share(tmp_path, manifest.to_json(), "p1") == tmp_path / inside / "p1.safetensors"
    with pytest.raises(CheckpointError, match=f"p0 has no share of model {manifest.digest[:12]}"):
        engine.find_share(tmp_path, manifest.to_json(), "p0")


def test_without_a_folder_the_message_says_what_to_do() -> None:
    with pytest.raises(CheckpointError, match=r"p0 has no \[models\] dir"):
        ModelEngine().find_share(None, "{}", "p0")


def test_digests_come_from_the_manifest() -> None:
    manifest = Manifest("bert", {}, FixedPointPolicy(), "private", {}, {})
    digests = ModelEngine().digests(manifest.to_json())
    assert (digests.model, digests.policy) == (manifest.digest, manifest.policy.digest())
    with pytest.raises(CheckpointError):
        ModelEngine().digests("[]")
