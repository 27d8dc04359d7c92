"""A client's and an owner's party, as servers of this process with the real engine: what is made ahead and used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("tenseal")

from secure.connection import Parties
from secure.models.price import price
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.model_engine import ModelEngine
from secure.parties.roles.role import StockedRole
from secure.parties.stock.store import Store
from secure.parties.stock_settings import Keep, StockSettings
from secure.parties.transport.certificates.making import make_certificates
from secure.precomputing import precompute
from secure.protocols.core.errors import (
    ConfigurationError,
    CorrelationsDamaged,
    HandshakeError,
    InputError,
    ModelNotLoaded,
    NoCorrelations,
    StockFull,
)
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.outline import MAKING
from tests.models.graph.modules import settled
from tests.parties.local import LocalParties, eventually

ERROR = 2e-3
X = torch.linspace(-2, 2, 6).reshape(2, 3)
ROLES = ("p0", "p1")


@pytest.fixture
def garbler() -> Garbler:
    return "client"


@pytest.fixture
def settings(tmp_path: Path, garbler: Garbler) -> PartiesSettings:
    make_certificates(tmp_path / "tls", roles=(*ROLES, *CALLERS))
    parties = {role: PartySettings(address, address) for role, address in free_addresses(ROLES).items()}
    stock = StockSettings(tmp_path / "stock", key="file", fallback=False)
    limits = Limits(rendezvous_seconds=60.0)  # on a busy machine they wait long for their turn
    return PartiesSettings(parties, tmp_path / "tls", limits=limits, protocol="hybrid", stock=stock, garbler=garbler)


@pytest.fixture
def servers(settings: PartiesSettings) -> Iterator[LocalParties]:
    started = LocalParties(settings, engine=ModelEngine())
    yield started
    started.stop_all()


@pytest.fixture
def parties(servers: LocalParties) -> Iterator[Parties]:
    with Parties(Client(servers.settings), protocol="hybrid") as found:
        yield found


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(1)
    return settled(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))


@pytest.fixture
def model(module: nn.Module, parties: Parties) -> PrivateModule:
    return PrivateModule.from_module(module, X, parties=parties, weights="server")


def store_of(servers: LocalParties, role: str) -> Store:
    found = servers.servers[role]._peers
    assert isinstance(found, StockedRole) and found.from_stock is not None
    return found.from_stock.store


def states(servers: LocalParties, role: str) -> dict[str, int]:
    return {tally.state: tally.count for tally in store_of(servers, role).tallies()}


def tape_of(settings: PartiesSettings, role: str) -> Path:
    assert settings.stock is not None
    (found,) = (settings.stock.dir / role).glob("*.tape")
    return found


@pytest.mark.parametrize(
    "garbler", ["client", *(pytest.param(each, marks=pytest.mark.slow) for each in ("server", "nobody"))]
)
def test_what_is_made_ahead_serves_one_prediction(
    model: PrivateModule, module: nn.Module, servers: LocalParties, garbler: str
) -> None:
    """After a restart, too: models and stocks outlive a process where its key does."""
    with pytest.raises(NoCorrelations, match="there are none of any shape"):
        model(X)
    made = model.precompute(2)
    kept = made.kept_bytes + 2 * 16
    for role in ROLES:
        servers.stop(role)
        servers.start(role, ModelEngine())
    for _ in range(2):
        with torch.no_grad():
            assert float((model(X) - module(X)).abs().max()) < ERROR
        offline = model.report.offline
        assert offline is not None and (offline.from_stock, offline.on_demand) == (1, 0)
        assert offline.seconds > 0 and offline.in_call_seconds == 0
        assert sum(offline.kept_bytes.values()) == kept
        assert (offline.kept_bytes["p0"] < offline.kept_bytes["p1"]) == (garbler == "client")
    assert [states(servers, role) for role in ROLES] == 2 * [{"spent": 2}]
    if garbler == "client":  # what is declared before anybody shares anything is what both links have carried
        request = model.network.request(model.network.whole_output, {})
        layers = dict(price(model.manifest, request).layers)
        making, report = layers.pop(MAKING), model.report
        assert (making.rounds, making.online_bytes) == (offline.rounds, sum(offline.sent_bytes.values()))
        assert sum(layer.rounds for layer in layers.values()) == report.rounds
        assert sum(layer.online_bytes for layer in layers.values()) == report.online_bytes
    with pytest.raises(NoCorrelations):
        model(X)


@pytest.mark.parametrize("role", ROLES)
def test_a_tape_that_was_changed_ends_the_session_and_is_spent(
    role: str, model: PrivateModule, servers: LocalParties
) -> None:
    model.precompute()
    tape = tape_of(servers.settings, role)
    whole = bytearray(tape.read_bytes())
    whole[len(whole) // 2] ^= 1
    tape.write_bytes(whole)
    with pytest.raises(CorrelationsDamaged):
        model(X)
    assert [states(servers, role) for role in ROLES] == 2 * [{"spent": 1}]
    assert not list(tape.parent.glob("*.tape"))


def test_a_making_for_which_one_party_has_no_room_is_in_neither_stock(
    model: PrivateModule, servers: LocalParties
) -> None:
    store_of(servers, "p1")._max_bytes = 50_000
    with pytest.raises(StockFull):
        model.precompute()
    for role in ROLES:
        assert states(servers, role) == {"burnt": 1}
        assert not list((store_of(servers, role)._folder).glob("*.tape"))


def test_what_is_made_on_demand_needs_memory_until_it_is_used(
    model: PrivateModule, module: nn.Module, servers: LocalParties
) -> None:
    """A client without a stock of its own asks for none."""
    with Parties(Client(replace(servers.settings, stock=None)), protocol="hybrid") as others:
        live = PrivateModule.from_module(module, X, parties=others, weights="server")
        with torch.no_grad():
            assert float((live(X) - module(X)).abs().max()) < ERROR
        assert live.report.deal == "demand"
        kept = live.report.offline.kept_bytes["p1"]  # type: ignore[union-attr]
        assert live.report.roles["p1"].memory_bytes > kept > 20_000
        servers.servers["p1"]._worker.reservations._free_bytes = lambda: kept // 2
        with pytest.raises(InputError, match=r"p1 would take about .* of memory for this request"):
            live(X)


@pytest.mark.slow
def test_the_client_keeps_its_stock_filled(settings: PartiesSettings, module: nn.Module, tmp_path: Path) -> None:
    """In idle time, for models that a client has loaded."""
    PrivateModule.split(module, X, tmp_path / "models", weights="server", protocol="hybrid")
    (tmp_path / "client").mkdir()
    shutil.copy(tmp_path / "models" / "manifest.json", tmp_path / "client")
    assert settings.stock is not None
    stock = replace(settings.stock, keep=(Keep(".", ("2x1",), 1, 2, output="hidden"),))
    servers = LocalParties(replace(settings, models_dir=tmp_path / "models", stock=stock), engine=ModelEngine())
    try:
        with Parties(Client(servers.settings), protocol="hybrid") as parties:
            model = PrivateModule.from_split(tmp_path / "client", parties=parties)
            eventually(lambda: states(servers, "p0") == states(servers, "p1") == {"stock": 2})
            model(X)
            assert model.report.deal == "stock"
    finally:
        servers.stop_all()


@pytest.mark.slow
def test_a_model_that_is_gone_burns_what_was_made_for_it(model: PrivateModule, servers: LocalParties) -> None:
    model.precompute()
    model.unload()
    assert [states(servers, role) for role in ROLES] == 2 * [{"burnt": 1}]
    with pytest.raises(ModelNotLoaded, match="p0 has no model"):
        model.precompute()


@pytest.mark.slow
def test_parties_that_differ_in_who_garbles_make_nothing(model: PrivateModule, servers: LocalParties) -> None:
    model.precompute()
    servers.own["p1"] = replace(servers.settings, garbler="server")
    servers.stop("p1")
    servers.start("p1", ModelEngine())
    with pytest.raises(HandshakeError, match="who garbles differs"):
        model.precompute()
    with pytest.raises(HandshakeError, match="who garbles differs"):
        model(X)
    assert states(servers, "p0") == {"spent": 1}


def test_only_parties_that_make_something_themselves_are_asked(settings: PartiesSettings) -> None:
    with pytest.raises(ConfigurationError, match="that is 'hybrid'"):
        precompute(replace(settings, protocol="replicated"), None, 1)  # type: ignore[arg-type]
