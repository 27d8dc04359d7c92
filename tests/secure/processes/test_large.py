"""A model several times as large as what a party may take, served by real processes from their own disks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure.models.checkpoint.conversion import split_checkpoint
from secure.parties.config import CALLERS
from secure.parties.launcher import free_addresses, launch
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import CheckpointError
from secure.protocols.families import family
from tests.models.decoders import save_decoder, words
from tests.secure.running import Running, peak_bytes

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.xdist_group("parties")]

WIDTH, LAYERS = 512, 10
LAYER_BYTES = 12 * WIDTH**2 * 16
"""What P0 and P1 keep of a layer, with private weights: a share and an opened form of each weight."""
LEFT_BYTES = 2 * LAYER_BYTES
"""Of memory, for what stays of the matrices and for what is read."""
LOADING_BYTES = 8 * 8 * 4 * WIDTH**2
"""While the largest matrix is loaded; sessions have it afterwards."""
VECTOR_BYTES = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("large") / "model"
    sizes = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 8, "n_positions": 20}
    return folder, save_decoder(folder, "gpt2", spread=0.02, **sizes)


def served_from(folder: Path, protocol: str) -> Path:
    """The settings of parties that serve their shares from a folder."""
    roles = family(protocol).roles
    make_certificates(folder / "certificates", {}, days=1, roles=(*roles, *CALLERS))
    text = settings_toml(free_addresses(roles), folder / "certificates", protocol=protocol)
    path = folder / "parties.toml"
    path.write_text(f"{text}[models]\ndir = '{folder}'\n")
    return path


@pytest.mark.parametrize("protocol", ["beaver", "replicated"])
def test_peak_memory_is_what_is_allowed(
    protocol: str, model: tuple[Path, Any], beaver: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reference = model
    split_checkpoint(folder, tmp_path / "split", protocol=protocol)
    for role in ("p0", "p1", "p2"):  # a client without the shares lets the parties serve their own
        if (path := tmp_path / f"split/{role}.safetensors").exists():
            path.rename(tmp_path / path.name)
    (tmp_path / "manifest.json").write_bytes((tmp_path / "split/manifest.json").read_bytes())
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
    lines: list[str] = []
    allowed = beaver.idle_bytes + LEFT_BYTES + LOADING_BYTES + VECTOR_BYTES
    with (
        launch(
            served_from(tmp_path, protocol), log=lambda role, line: lines.append(f"{role} {line}"), memory_bytes=allowed
        ) as launcher,
        secure.connect(launcher.config) as parties,
    ):
        private = secure.PrivateModel.from_pretrained(tmp_path / "split", parties=parties)
        ids = words(1, 4)
        with torch.no_grad():
            due = reference.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=60, pad_token_id=0)
        for _ in range(2):
            assert torch.equal(private.generate(ids, max_new_tokens=4, eos_token_id=60), due)
        peaks = {role: peak_bytes(process) for role, process in launcher.process_ids.items()}
        assert list((tmp_path / "disk").iterdir()) == [], "what lies there has no name"
        private.unload()
    assert LAYERS * LAYER_BYTES > 4 * LEFT_BYTES
    for role, peak in peaks.items():
        assert peak < allowed, f"{role}: {peak:,} bytes, {allowed:,} were allowed"
    told = re.findall(
        r"(\S+) \S+ INFO +(\S+ MB) may be taken: (\S+ MB) of weights stay in memory, (\S+ MB)", str(lines)
    )
    assert {role.strip("'") for role, *_ in told} == set(peaks)


def test_an_upload_beyond_the_limit_is_refused(model: tuple[Path, Any], beaver: Running) -> None:
    with (
        secure.launch(memory_bytes=beaver.idle_bytes + LEFT_BYTES + LOADING_BYTES + VECTOR_BYTES) as parties,
        pytest.raises(CheckpointError, match=r"the share of p\d has 2\d\d MB, .* of its memory are free .*dir instead"),
    ):
        secure.PrivateModel.from_pretrained(model[0], parties=parties)
