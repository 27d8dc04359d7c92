"""A user's own modules on three real processes over mutual TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import secure
from secure.models.contract.manifest import WeightVisibility
from secure.split import share_files
from tests.models.graph.modules import EncoderBlock, Pictures, settled
from tests.sampling import product_of
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
    assert sum(row.online_bytes for row in model.report.rows) == model.report.online_bytes - 16 > 0
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


class Product(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y


@product_of(family=["beaver", "replicated"], weights=["private", "public"])
def test_modules_without_parameters(family: str, weights: WeightVisibility, request: pytest.FixtureRequest) -> None:
    """The dealer, and every party, loads a model of which there is nothing to load."""
    parties = request.getfixturevalue(family).parties
    x, y = torch.tensor([[-3.0, 0.0, 8000.0]]), torch.tensor([[-1.0], [2.0], [0.5]])
    for module, inputs in ((torch.nn.ReLU(), (x,)), (Product(), (x, y)), (torch.nn.Identity(), (y,))):
        model = secure.PrivateModel.from_module(module, inputs, parties=parties, weights=weights)
        assert float((model(*inputs) - module(*inputs)).abs().max()) < 1e-3
        model.unload()


@product_of(family=["beaver", "replicated"])
def test_a_client_that_chooses_no_row_is_refused(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads a table by multiples of one-hot vectors hears that it deviates; the next one is served."""
    parties, table = request.getfixturevalue(family).parties, settled(torch.nn.Embedding(9, 4))
    ids, honest = torch.tensor([[1, 2, 8]]), torch.nn.functional.one_hot
    model = secure.PrivateModule.from_module(table, ids, parties=parties)
    with monkeypatch.context() as patch:
        patch.setattr("torch.nn.functional.one_hot", lambda *given: 32 * honest(*given))
        with pytest.raises(secure.errors.InputError, match="a vector that chooses a row of a private table is to be"):
            model(ids)
    assert float((model(ids) - table(ids).detach()).abs().max()) < 2.0**-16
    assert "inputs" in {row.layer for row in model.report.rows}
    model.unload()
