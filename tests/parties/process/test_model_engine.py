"""How a party finds its own share on disk, and what it refuses before it computes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from secure.models.contract.manifest import VISIBILITIES, Manifest, ParameterSpec, WeightVisibility
from secure.models.families.bert_config import BertConfig
from secure.models.storage.capacity import plan_room
from secure.parties.process.model_engine import ModelEngine
from secure.parties.roles import memory
from secure.parties.roles.dealer import DealerTools
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy

Usage = namedtuple("Usage", "total used free")


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


@pytest.mark.parametrize("content", [b'{"format": 1}', b"{", b"\xff"])
def test_a_manifest_that_cannot_be_read_does_not_hide_another_model(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "an old model"
    write_model(old, "old")
    (old / "manifest.json").write_bytes(content)
    manifest = write_model(tmp_path / "new", "wanted")
    engine = ModelEngine()
    assert engine.find_share(tmp_path, manifest.to_json(), "p1") == tmp_path / "new" / "p1.safetensors"
    assert f"{old} is passed over, its manifest cannot be read" in caplog.text
    (tmp_path / "new" / "p1.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"p1 has no share of .*passed over, .*: .*/an old model\); copy it there"
    ):
        engine.find_share(tmp_path, manifest.to_json(), "p1")


def test_without_a_folder_the_message_says_what_to_do() -> None:
    with pytest.raises(CheckpointError, match=r"p0 has no \[models\] dir"):
        ModelEngine().find_share(None, "{}", "p0")


def test_digests_come_from_the_manifest() -> None:
    manifest = Manifest("bert", {}, FixedPointPolicy(), "private", {}, {})
    digests = ModelEngine().digests(manifest.to_json())
    assert (digests.model, digests.policy) == (manifest.digest, manifest.policy.digest())
    with pytest.raises(CheckpointError):
        ModelEngine().digests("[]")


LARGE = Manifest(
    "bert",
    BertConfig(1, 4, 1, 1, 4, 2, 1, 1e-12).to_dict(),
    FixedPointPolicy(),
    "private",
    {"head.weight": ParameterSpec((1 << 20, 1 << 10), "factor", 16)},
    {},
)
"""A matrix of 2^30 elements: 8.59 GB of them, and 0.47 GB of other words for the rows that are opened at a time."""


@pytest.mark.parametrize(
    ("free", "on_disk", "message"),
    [
        (
            9_100_000_000,
            1 << 60,
            r"dealer needs 9\.13 GB .*: 0 B for vectors, 67\.1 MB to read matrices .* and 9\.06 GB while head\.weight, "
            r"the largest, is loaded; 9\.10 GB are free",
        ),
        (
            10 << 30,
            7_000_000_000,
            r"dealer needs 17\.6 GB .*, of which 10\.7 GB are free; the 7\.33 GB of matrices that do not fit would "
            r"go to .*, where 7\.00 GB are free\. TMPDIR.* unload\(\)",
        ),
    ],
)
def test_what_fits_neither_memory_nor_disk_is_refused_before_anybody_sends(
    free: int, on_disk: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, on_disk))
    dealer = DealerTools(b"session", (bytes(16), bytes(16)), Nowhere(), lambda layer: None)
    with pytest.raises(CheckpointError, match=message):
        ModelEngine().load(dealer, LARGE.to_json(), None)


def test_what_does_not_fit_on_a_card_is_refused_before_anybody_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_card_bytes", lambda device, limit_bytes: limit_bytes)
    dealer = DealerTools(b"session", (bytes(16), bytes(16)), Nowhere(), lambda layer: None)
    engine = ModelEngine(9_000_000_000, torch.device("cuda:1"))
    words = (
        r"dealer needs 1\d\.\d GB of memory on cuda:1 for this model, of which 9\.00 GB are free; use another card.*"
        r" unload\(\)"
    )
    with pytest.raises(CheckpointError, match=words):
        engine.load(dealer, LARGE.to_json(), None)


@pytest.mark.parametrize("weights", VISIBILITIES)
@pytest.mark.parametrize("role", ["p0", "p1", "dealer"])
def test_room_adds_up(role: str, weights: WeightVisibility, tmp_path: Path) -> None:
    manifest = replace(LARGE, weights=weights)
    whole = plan_room(manifest, role, 1 << 40, tmp_path, digits=False)
    assert whole.disk_bytes == whole.ahead_bytes == 0
    loading = (1 << 33) + 7 * 8 * (1 << 23)
    assert plan_room(manifest, role, loading + whole.memory_bytes, tmp_path, digits=False) == whole
    if whole.memory_bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 1 << 60))
            for left in (1 << 26, 1 << 28, whole.memory_bytes - 1):
                room = plan_room(manifest, role, loading + left, tmp_path, digits=False)
                assert room.memory_bytes + room.ahead_bytes == left
                assert room.memory_bytes + room.disk_bytes == whole.memory_bytes
                assert 1 << 26 <= room.ahead_bytes <= 1 << 30
            with pytest.raises(CheckpointError, match="memory for this model"):
                plan_room(manifest, role, loading + (1 << 26) - 1, tmp_path, digits=False)


def test_what_the_largest_tensor_took_is_used_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 1 << 60))
    small = {f"layer.{i}.weight": ParameterSpec((1 << 10, 1 << 10), "factor", 16) for i in range(200)}
    manifest = replace(
        LARGE, parameters={**small, "embeddings.weight": ParameterSpec((1 << 14, 1 << 10), "factor", 16)}
    )
    loading = {True: 8 * ((1 << 24) + 7 * (1 << 23)), False: 8 * 8 * (1 << 20)}
    kept = {True: 16 << 24, False: 16 << 20}
    free = 2_000_000_000
    room = plan_room(manifest, "p0", free, tmp_path, digits=False)
    assert room.memory_bytes + room.disk_bytes == kept[True] + 200 * kept[False]
    part, seen = room.memory_bytes / (kept[True] + 200 * kept[False]), 0
    needs = []
    for first in (True, *(False for _ in small)):
        seen += kept[first]
        needs.append(part * seen + loading[first] + room.ahead_bytes)
    assert free - 1000 < max(needs) <= free
    assert max(needs) == needs[-1], "once the largest is there, its words are for others"


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


def test_a_limit_counts_what_the_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 500)
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1000)
    assert memory.free_bytes(None) == 500
    assert memory.free_bytes(None, 400) == 500  # what is available is so beside the upload
    assert memory.free_bytes(1400) == 400
    assert memory.free_bytes(1400, 300) == 100
    assert memory.free_bytes(900) == 0
    assert memory.free_bytes(9000) == 500
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert memory.free_bytes(None) is None
    assert memory.free_bytes(1400) == 400


def test_what_this_process_holds() -> None:
    before = memory.resident_bytes()
    held = bytearray(os.urandom(1 << 26))
    assert memory.resident_bytes() - before > 0.8 * len(held)
    assert memory.resident_bytes(Path("/absent")) == 0


def test_the_folder_for_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/scratch")
    assert memory.scratch_folder() == Path("/scratch")
    monkeypatch.delenv("TMPDIR")
    assert memory.scratch_folder() == Path("/var/tmp")


def test_a_party_starts_without_compilers_that_it_does_not_use() -> None:
    """Torch's own one and its algebra would take longer than all the rest of the start."""
    program = (
        "import sys\n"
        "from secure.parties.config import Limits\n"
        "from secure.parties.process.model_engine import model_engine\n"
        "model_engine(Limits(), 'cpu')._wait_until_warm()\n"
        "print([name for name in ('torch._dynamo', 'sympy', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
