"""How a party finds its own share on disk, and what it refuses before it computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.config import BertConfig
from models.manifest import Manifest, ParameterSpec
from parties import memory
from parties.engine import DealerTools
from parties.model_engine import ModelEngine
from protocols.core.channel import Channel, Payload
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


def test_a_model_larger_than_memory_is_refused_before_anybody_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ParameterSpec((1 << 20, 1 << 10), "factor", 16)
    config = BertConfig(1, 4, 1, 1, 4, 2, 1, 1e-12).to_dict()
    manifest = Manifest("bert", config, FixedPointPolicy(), "private", {"head.weight": spec}, {})
    monkeypatch.setattr(memory, "available_bytes", lambda: 10 << 30)
    dealer = DealerTools(b"session", (bytes(16), bytes(16)), Nowhere(), lambda layer: None)
    with pytest.raises(CheckpointError, match=r"dealer needs 51\.5 GB .*: 8\.59 GB that stay.* 10\.7 GB are free"):
        ModelEngine().load(dealer, manifest.to_json(), None)


class Nowhere(Channel):
    """Nothing may be sent."""

    peer = "p1"

    def send(self, payload: Payload) -> None:
        raise AssertionError("something was sent")

    def receive(self) -> memoryview:
        raise AssertionError("nothing comes")


def test_free_memory_is_the_systems_within_a_containers_limit(tmp_path: Path) -> None:
    assert memory.available_bytes(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 800 kB\n")
    assert memory.available_bytes(tmp_path) == 800 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert memory.available_bytes(tmp_path) == 800 * 1024
    (group / "memory.max").write_text("500000\n")
    (group / "memory.current").write_text("300000\n")
    (group / "memory.stat").write_text("anon 7\ninactive_file 50000\n")
    assert memory.available_bytes(tmp_path) == 250_000
    assert (memory.available_bytes() or 0) > 1 << 20
