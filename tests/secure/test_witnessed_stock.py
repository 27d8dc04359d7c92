"""Three evaluators and their dealer in this process, with the real engine: from stock as live, after a restart, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from secure.connection import Parties
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.config import CALLERS, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.model_engine import ModelEngine
from secure.parties.roles.witnessed import EvaluatingRole
from secure.parties.roles.working_ahead import WorkingAhead
from secure.parties.stock_settings import StockSettings
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.masked.ahead import Ahead
from secure.protocols.witnessed.family import WITNESSED
from tests.parties.local import LocalParties, eventually

X = torch.linspace(-2, 2, 12).reshape(4, 3)
ERROR = 1e-3


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[LocalParties]:
    make_certificates(tmp_path / "tls", roles=(*WITNESSED.roles, *CALLERS))
    parties = {role: PartySettings(address, address) for role, address in free_addresses(WITNESSED.roles).items()}
    stock = StockSettings(tmp_path / "stock", key="file")
    settings = PartiesSettings(parties, tmp_path / "tls", protocol="witnessed", stock=stock)
    started = LocalParties(settings, engine=ModelEngine())
    yield started
    started.stop_all()


def evaluator(servers: LocalParties, name: str) -> EvaluatingRole:
    role = servers.servers[name]._peers
    assert isinstance(role, EvaluatingRole)
    return role


def ahead_of(servers: LocalParties, name: str) -> WorkingAhead:
    working = evaluator(servers, name).working_ahead
    assert working is not None
    return working


@pytest.mark.parametrize("weights", ["private", pytest.param("public", marks=pytest.mark.slow)])
def test_a_prediction_from_stock_is_as_one_with_the_dealer(weights: str, servers: LocalParties) -> None:
    """All of them are started again in between: models and deals outlive a process where its key does."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(3, 5), nn.GELU()).eval()
    with torch.no_grad():
        due = module(X)
    with Parties(Client(servers.settings), protocol="witnessed") as parties:
        model = PrivateModule.from_module(module, X, parties=parties, weights=weights)
        assert float((model(X) - due).abs().max()) < ERROR
        live = model.report
        request = model.network.request(model.network.whole_output, {})
        row = Operator(servers.settings, "dealer").deal(model.manifest.digest, request.to_json(), 2)
        for role in WITNESSED.roles:
            servers.stop(role)
        for role in WITNESSED.computing:
            servers.start(role, ModelEngine())
        workers = [ahead_of(servers, role) for role in WITNESSED.computing]
        first = evaluator(servers, "p0").from_stock
        assert first is not None
        eventually(first.compared.is_set)  # before that the dealer would be asked
        assert float((model(X) - due).abs().max()) < ERROR
        made: list[Ahead] = []
        if weights == "private":  # now they know what is asked for, and work for the next one, on both parts of each
            eventually(lambda: all(worker._ahead for worker in workers))
            made = [each for worker in workers for walks in worker._ahead.values() for each in walks]
            assert len(made) == 6 and all(each.products for each in made)
        assert float((model(X) - due).abs().max()) < ERROR
        stock = model.report
        assert not any(each.products for each in made), "all of it was used"
    assert (live.deal, stock.deal) == ("live", "stock") and "dealer: absent" in stock.to_text()
    assert live.security == stock.security == "malicious"
    assert (stock.rounds, stock.online_bytes, stock.dealer_bytes) == (live.rounds, live.online_bytes, 0)
    assert sum(row.online_bytes for row in stock.rows) == sum(row.online_bytes for row in live.rows)
    assert row["bytes"] == sum(row.dealer_bytes for row in live.rows) // 2
