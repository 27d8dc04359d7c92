"""A user's own modules on three real processes over mutual TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import secure
from secure.split import share_files
from tests.models.graph.modules import EncoderBlock, Pictures, settled
from tests.secure.running import Running

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("parties")]


def test_modules_on_three_processes(tmp_path: Path, beaver: Running) -> None:
    torch.manual_seed(6)
    pictures, block = settled(Pictures()), settled(EncoderBlock())
    image, ids = torch.randn(2, 3, 15, 17), torch.randint(0, 17, (2, 5))
    with torch.no_grad():
        due_pictures, due_block = pictures(image), block(ids)
    parties = beaver.parties
    model = secure.PrivateModel.from_module(pictures, image, parties=parties)
    found = model(image)
    assert sum(row.online_bytes for row in model.report.rows) == model.report.online_bytes > 0
    assert model.report.roles["p0"].messages_sent["p1"] == model.report.rounds
    model.unload()
    public = secure.PrivateModel.from_module(block, ids, parties=parties, weights="public")
    found_block = public(ids)
    # A party checks a graph itself, whatever a client sends.
    manifest = secure.PrivateModule.split(block, ids, tmp_path)
    manifest.config["nodes"][0]["operation"] = "eval"
    with pytest.raises(secure.errors.CheckpointError, match="no operation is called 'eval'"):
        parties.client.load_model(manifest, share_files(tmp_path))
    for name, theirs in due_pictures.items():
        assert float((found[name] - theirs).abs().max()) < 1e-3
    for ours, theirs in zip(found_block, due_block, strict=True):
        assert float((ours - theirs).abs().max()) < 2e-3
