"""A party's own work for the next deals: made while nobody waits, for one session each, dropped if it is in the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.program import ClientSteps, network
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.config import PARTIES, PartiesSettings
from secure.parties.process.model_engine import ModelEngine
from secure.parties.process.server import PartyServer
from secure.parties.roles.engine import MeterRows, Tools
from secure.parties.roles.party import ComputingRole, PartyAheadTools
from secure.parties.roles.store import ModelStore, StoredModel
from secure.parties.roles.working_ahead import WARM, AheadTools, WorkingAhead
from secure.parties.session.reservations import Reservations
from secure.parties.stock.binding import Binding
from secure.parties.stock.key import StoreKey
from secure.parties.stock.store import Deal, Store
from secure.parties.stock_settings import StockSettings
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import Profile
from secure.protocols.core.transfer import CPU
from tests.models.decoders import save_decoder, words
from tests.models.runs import clear_run
from tests.parties.fakes import FakeEngine, FakeRequest
from tests.parties.local import eventually

SECRET = "a value"
BOUND = Binding("beaver", 6, "model", "policy", "load", "request", "near", 1 << 20)


class Walking(FakeEngine):
    """Walks through three layers, and finds a product in each."""

    def __init__(self) -> None:
        self.walks: list[str] = []
        self.at_layer: Callable[[], None] = lambda: None

    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        assert isinstance(tools, PartyAheadTools)
        self.walks.append(tools.deal.name)
        party = tools.protocol(FixedPointPolicy(), Meter(), CPU)
        for layer in range(3):
            self.at_layer()
            tools.check()
            party.made.products[layer] = torch.zeros(4, dtype=torch.int64)
        return False, []


class Party:
    """P0's stock of four deals, and its work ahead."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder, StoreKey(os.urandom(32), outlives=True), 1 << 30)
        self.names = [f"{7:016x}{number:016x}" for number in range(4)]
        for name in self.names:
            with self.store.filling(name, BOUND, "1x16", os.urandom(16), None):
                pass
        self.engine, self.idle, models = Walking(), True, ModelStore("p0")
        models.put("model", StoredModel("load", "policy", "a model"))
        self.ahead = WorkingAhead(self.walks, self.store, models, self.engine, lambda: self.idle)
        self.ahead.start()

    def walks(self, deal: Deal, check: Callable[[], None]) -> list[AheadTools]:
        return [PartyAheadTools(deal, check, 0)]

    def made(self) -> set[str]:
        return set(self.ahead._ahead)


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    found = Party(tmp_path / "p0")
    yield found
    found.ahead.stop()
    found.store.close()


def test_the_next_deals_are_worked_for_and_each_is_taken_once(party: Party) -> None:
    party.ahead.expect(BOUND, FakeRequest().to_json())
    eventually(lambda: party.made() == set(party.names[:WARM]))
    party.idle = False  # a session comes, and its deal is spent some time before it takes what was made for it
    name = party.store.spend_oldest("session", BOUND).name
    party.ahead.background.stopping.wait(1.0)
    taken = party.ahead.take(name)
    assert taken is not None
    assert [(each.session.hex(), each.index, len(each.products)) for each in taken] == [(name, 0, 3)]
    assert party.ahead.take(name) is None
    party.idle = True
    eventually(lambda: party.made() == set(party.names[1 : 1 + WARM]))
    party.store.burn(party.names, "in doubt")
    eventually(lambda: not party.made())
    assert party.engine.walks == party.names[: 1 + WARM]


def test_nothing_is_done_while_a_session_is_there(party: Party) -> None:
    def a_session_comes() -> None:
        party.idle = False

    party.engine.at_layer = a_session_comes
    party.ahead.expect(BOUND, FakeRequest().to_json())
    eventually(lambda: len(party.engine.walks) == 1)
    party.ahead.stop()
    assert not party.made() and len(party.engine.walks) == 1  # given up, and not begun again


def test_a_defect_ends_the_work_for_one_deal_and_is_told(party: Party, caplog: pytest.LogCaptureFixture) -> None:
    def fail_once() -> None:
        party.engine.at_layer = lambda: None
        raise ValueError(SECRET)

    party.engine.at_layer = fail_once
    party.ahead.expect(BOUND, FakeRequest().to_json())
    eventually(lambda: party.ahead.background.trouble == "failed with ValueError" or party.names[1] in party.made())
    eventually(lambda: party.made() == {party.names[1]})
    eventually(lambda: party.ahead.background.trouble == "")
    assert party.engine.walks == party.names[:2]
    assert "failed with ValueError" in caplog.text and SECRET not in caplog.text


def test_a_session_that_needs_the_memory_gets_it(party: Party) -> None:
    party.ahead.expect(BOUND, FakeRequest().to_json())
    eventually(lambda: len(party.made()) == WARM)
    party.idle = False
    free = iter([10, 30])
    reservations = Reservations("p0", lambda: next(free))
    reservations.when_short = party.ahead.drop
    with reservations.reserved(20):
        assert not party.made()
    reservations = Reservations("p0", lambda: 10)
    reservations.when_short = party.ahead.drop
    with pytest.raises(InputError, match="of which 10 B are free"), reservations.reserved(20):
        pass


def test_nothing_is_begun_that_would_take_a_sessions_memory(party: Party) -> None:
    party.engine.memory_bytes = 100
    party.ahead.expect(BOUND, FakeRequest(memory_bytes=60).to_json())
    party.ahead.expect(replace(BOUND, request_digest="another"), FakeRequest().to_json())
    party.ahead.background.stopping.wait(1.5)
    assert party.engine.walks == []


# The whole way, with a model.


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    save_decoder(tmp_path, "gpt2", n_layer=1)
    return read_checkpoint(tmp_path)


def test_sessions_from_stock_take_what_was_made_for_them(
    settings: PartiesSettings, checkpoint: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest, inputs = write_split(checkpoint, tmp_path / "split"), {"input_ids": words(1, 5)}
    settings = replace(settings, stock=StockSettings(tmp_path / "stock", "file", fallback=False))
    servers = {role: PartyServer(settings, role, ModelEngine()) for role in PARTIES}
    for server in servers.values():
        server.start()
    net = network(manifest)
    request = net.request("next_logits", inputs)
    due = clear_run(checkpoint, "next_logits", inputs)["logits"]
    try:
        with Client(settings) as client:
            client.load_model(manifest, {role: tmp_path / "split" / f"{role}.safetensors" for role in ("p0", "p1")})
            Operator(settings, "dealer").deal(manifest.digest, request.to_json(), 2)
            workers = []
            for role in ("p0", "p1"):
                party = servers[role]._peers
                assert isinstance(party, ComputingRole) and party.working_ahead is not None
                workers.append(party.working_ahead)
            eventually(lambda: all(len(worker._ahead) == 2 for worker in workers))
            made = [each for worker in workers for walks in worker._ahead.values() for each in walks]
            for left in (1, 0):
                payloads = input_payloads(net, request, inputs, checkpoint.embeddings)
                answer = client.predict(manifest.digest, manifest.policy.digest(), request, payloads)
                found = step_outputs(net, request, answer.payloads)["logits"]
                assert float((found - due).abs().max()) < 3e-3
                eventually(lambda left=left: all(len(worker._ahead) == left for worker in workers))
            assert not any(each.products for each in made)  # every half was used
    finally:
        for server in servers.values():
            server.stop()
