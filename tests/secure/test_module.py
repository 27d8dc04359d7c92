"""Modules of a user's own through the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secure import PrivateModel, PrivateModule
from secure.connection import Parties
from secure.models.checkpoint.conversion import CLIENT_NAME
from secure.protocols.core.errors import CheckpointError, InputError
from secure.split import split
from tests.models.graph.modules import EncoderBlock, Perceptron, settled
from tests.secure.fakes import InProcessClient

ERROR = 4e-3
X = torch.linspace(-2, 2, 39).reshape(3, 13)


@pytest.fixture(scope="module")
def perceptron() -> nn.Module:
    return settled(Perceptron())


@pytest.mark.parametrize("weights", ["private", "public"])
def test_from_module(weights: str, perceptron: nn.Module, parties: Parties, client: InProcessClient) -> None:
    model = PrivateModel.from_module(perceptron, X, parties=parties, weights=weights)  # type: ignore[arg-type]
    assert isinstance(model, PrivateModule) and model.manifest.weights == weights
    with pytest.raises(InputError, match="no report yet"):
        _ = model.report
    for x in (X, X.flip(0) / 3):
        with torch.no_grad():
            assert float((model(x) - perceptron(x)).abs().max()) < ERROR
    assert model.report.rounds > 0
    assert {"first", "norm", "second", "later", "last", "module", "reveal"} >= {row.layer for row in model.report.rows}
    assert [request.batch for request in client.requests] == [3, 3]
    model.unload()
    assert not client.models


def test_inputs_of_another_shape(perceptron: nn.Module, parties: Parties, client: InProcessClient) -> None:
    model = PrivateModel.from_module(perceptron, X, parties=parties)
    with pytest.raises(InputError, match=r"has shape \[1, 13\]; the module was captured with \[3, 13\]"):
        model(X[:1])
    with pytest.raises(InputError, match="2 inputs; the module takes 1: x"):
        model(X, X)
    with pytest.raises(InputError, match="must be a torch tensor, a numpy array or a list, not str"):
        model("text")  # type: ignore[arg-type]
    assert not client.requests


def test_nothing_is_shared_of_a_module_that_is_refused(parties: Parties, client: InProcessClient) -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erf(x)

    with pytest.raises(CheckpointError, match=r"torch\.erf\(x\): aten\.erf"):
        PrivateModel.from_module(Unknown(), X, parties=parties)
    assert not client.uploaded


@pytest.mark.parametrize("weights", ["private", "public"])
def test_split(weights: str, tmp_path: Path) -> None:
    """A model owner splits; parties serve their own files; a client has the manifest and, if public, the tables."""
    module, ids = settled(EncoderBlock()), torch.tensor([[3, 16, 0], [5, 5, 1]])
    owner, public = tmp_path / "owner", tmp_path / "client"
    PrivateModule.split(module, ids, owner, weights=weights)  # type: ignore[arg-type]
    public.mkdir()
    for name in ("manifest.json", CLIENT_NAME):
        if (owner / name).is_file():
            (public / name).write_bytes((owner / name).read_bytes())
    assert (public / CLIENT_NAME).is_file() == (weights == "public")
    client = InProcessClient(served=owner)
    model = PrivateModule.from_split(public, parties=Parties(client))
    with torch.no_grad():
        due = module(ids.flip(0))
    found = model(ids.flip(0))
    assert isinstance(found, tuple)
    for ours, theirs in zip(found, due, strict=True):
        assert float((ours - theirs).abs().max()) < ERROR
    with pytest.raises(CheckpointError, match="not empty"):
        PrivateModule.split(module, ids, owner)
    with pytest.raises(CheckpointError, match=r"PrivateModule\.from_split"):
        PrivateModel.from_pretrained(owner, parties=Parties(client))


def test_a_checkpoint_is_no_module(checkpoint: Path, parties: Parties, tmp_path: Path) -> None:
    split(checkpoint, tmp_path / "split", "private")
    with pytest.raises(CheckpointError, match="no captured module"):
        PrivateModule.from_split(tmp_path / "split", parties=parties)
