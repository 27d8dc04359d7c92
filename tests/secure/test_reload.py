"""Models of the Python API when a party was restarted: the parties' servers in this process, with the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from secure.connection import Parties
from secure.models.checkpoint.conversion import write_split
from secure.models.contract.manifest import WeightVisibility
from secure.models.graph.capture import capture
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.model_engine import ModelEngine
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import ModelNotLoaded
from secure.protocols.families import FAMILIES
from tests.parties.local import LocalParties

X = torch.linspace(-2, 2, 12).reshape(4, 3)


@pytest.fixture(params=FAMILIES)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalParties]:
    family = FAMILIES[request.param]
    if family.name == "hybrid":
        pytest.importorskip("tenseal")
    make_certificates(tmp_path / "tls", roles=(*family.roles, *CALLERS))
    parties = {role: PartySettings(address, address) for role, address in free_addresses(family.roles).items()}
    settings = PartiesSettings(parties, tmp_path / "tls", tmp_path / "models", protocol=family.name)
    started = LocalParties(settings, engine=ModelEngine())
    yield started
    started.stop_all()


@pytest.fixture
def parties(servers: LocalParties) -> Iterator[Parties]:
    with Parties(Client(servers.settings), protocol=servers.settings.protocol) as found:
        yield found


def visibility(parties: Parties) -> WeightVisibility:
    """The most private kind of weights that the protocol has."""
    return FAMILIES[parties.protocol].weights[0].value


def test_an_uploaded_model_is_loaded_again_on_demand(servers: LocalParties, parties: Parties) -> None:
    torch.manual_seed(1)
    module = nn.Linear(3, 5).eval()
    weights = visibility(parties)
    model = PrivateModule.from_module(module, X, parties=parties, weights=weights)
    first, before = model.manifest.digest, model(X)
    servers.stop("p1")
    servers.start("p1", ModelEngine())
    with pytest.raises(ModelNotLoaded, match=r"p1 was restarted, .*; load the model again \(reload\)"):
        model(X)
    model.reload()
    assert float((model(X) - before).abs().max()) < 1e-3
    if weights != "private":
        return  # nothing is shared, so it is the same model
    assert model.manifest.digest != first, "shared anew"
    for server in servers.servers.values():
        assert server._worker.models.load_id(first) == "", "no party keeps the old one"


def test_a_model_on_the_parties_disks_goes_on(servers: LocalParties, parties: Parties, tmp_path: Path) -> None:
    torch.manual_seed(1)
    checkpoint = capture(nn.Linear(3, 5).eval(), X, weights=visibility(parties))
    split = write_split(checkpoint, tmp_path / "models", protocol=parties.protocol)
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "manifest.json").write_text(split.to_json(), encoding="utf-8")
    model = PrivateModule.from_split(tmp_path / "client", parties=parties)
    before = model(X)
    for role in servers.settings.parties:
        servers.stop(role)
        servers.start(role, ModelEngine())
        assert float((model(X) - before).abs().max()) < 1e-3
    model.reload()
    assert float((model(X) - before).abs().max()) < 1e-3
