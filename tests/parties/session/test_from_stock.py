"""Sessions that take their correlations from stock: without a dealer, once each, and burnt on any doubt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from secure.parties.client.client import Client, Prediction
from secure.parties.client.operator import Operator
from secure.parties.config import PartiesSettings
from secure.parties.roles.party import ComputingRole
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.stock.binding import short_name
from secure.parties.stock.store import Store
from secure.parties.stock_settings import StockSettings
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import (
    ConfigurationError,
    CorrelationsDamaged,
    HandshakeError,
    InputError,
    ModelNotLoaded,
    NoCorrelations,
    PartyUnreachable,
    ProtocolError,
    SecureInferenceError,
    StockFull,
)
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

REQUEST = FakeRequest(layers=3)
PAYLOADS = (b"for p0", b"for p1")


@pytest.fixture
def fallback() -> bool:
    return False


@pytest.fixture
def settings(settings: PartiesSettings, tmp_path: Path, fallback: bool) -> PartiesSettings:
    return replace(settings, stock=StockSettings(tmp_path / "stock", key="file", fallback=fallback))


@pytest.fixture
def operator(local_parties: LocalParties) -> Operator:
    return Operator(local_parties.settings, "dealer")


def role_of(parties: LocalParties, name: str) -> ComputingRole:
    role = parties.servers[name]._peers
    assert isinstance(role, ComputingRole)
    return role


def store_of(parties: LocalParties, name: str) -> Store:
    from_stock = role_of(parties, name).from_stock
    assert from_stock is not None
    return from_stock.store


def predict(client: Client, manifest: FakeManifest, request: FakeRequest = REQUEST) -> Prediction:
    return client.predict(manifest.digest, manifest.policy.digest(), request, PAYLOADS)


def deal(operator: Operator, manifest: FakeManifest, count: int = 1, request: FakeRequest = REQUEST) -> None:
    operator.deal(manifest.digest, request.to_json(), count)


def used(parties: LocalParties) -> list[list[tuple[str, str]]]:
    """Which deals each party has spent, and for which session."""
    return [
        store_of(parties, name)._ledger._read("select name, session from deals where state = 'spent' order by number")
        for name in ("p0", "p1")
    ]


def test_a_prediction_from_stock_needs_no_dealer(
    local_parties: LocalParties, client: Client, manifest: FakeManifest, operator: Operator
) -> None:
    seen: list[int] = []
    row = operator.deal(manifest.digest, REQUEST.to_json(), 2, seen.append)
    assert (row["dealt"], seen) == (2, [1, 2])
    assert row["bytes"] == 3 * 64
    local_parties.stop("dealer")
    first, second = (predict(client, manifest) for _ in range(2))
    assert first.payloads == second.payloads == (b"0p rof", b"1p rof")
    assert set(first.costs.reports) == {"p0", "p1"}
    assert first.costs.reports["p1"].wire_bytes_received == {"p0": 3 * 64, "client": 6}
    at_p0, at_p1 = used(local_parties)
    assert at_p0 == at_p1
    assert [name for name, _ in at_p0] == [first.costs.reports["p0"].deal, second.costs.reports["p1"].deal]
    with pytest.raises(NoCorrelations, match="nothing is in stock for this request; there are none of any shape"):
        predict(client, manifest)
    deal_names = {name for name, _ in at_p0}
    assert len(deal_names) == len({session for _, session in at_p0}) == 2


def test_without_a_deal_for_it_a_request_is_refused_with_what_there_is(
    client: Client, manifest: FakeManifest, operator: Operator
) -> None:
    deal(operator, manifest)
    other = FakeRequest(layers=4)
    with pytest.raises(NoCorrelations, match=r"there are 1 of \{\"layers\": 3"):
        predict(client, manifest, other)


@pytest.mark.parametrize("fallback", [True])
def test_a_request_falls_back_to_the_live_dealer(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties
) -> None:
    live = predict(client, manifest)
    assert set(live.costs.reports) == {"p0", "p1", "dealer"}
    assert live.costs.reports["p0"].deal == ""
    eventually(lambda: _compared(local_parties))
    deal(operator, manifest)
    assert predict(client, manifest).costs.reports["p0"].deal
    assert predict(client, manifest).payloads == live.payloads
    local_parties.stop("dealer")
    client.settings = replace(client.settings, limits=replace(client.settings.limits, rendezvous_seconds=0.5))
    client._dialer._settings = client.settings
    with pytest.raises(PartyUnreachable, match="dealer"):
        predict(client, manifest)


def _compared(parties: LocalParties) -> bool:
    from_stock = role_of(parties, "p0").from_stock
    return from_stock is not None and from_stock.compared.is_set()


def test_a_generation_that_stops_early_burns_the_rest(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties, tmp_path: Path
) -> None:
    request = FakeRequest(layers=2, steps=4)
    deal(operator, manifest, 2, request)
    digests = manifest.digest, manifest.policy.digest()
    with client.converse(*digests, request, 4) as conversation:
        assert [conversation.step(PAYLOADS)[0] for _ in range(2)] == [b"0p rof"] * 2
    with client.converse(*digests, request, 4) as conversation:
        assert [conversation.step(PAYLOADS)[0] for _ in range(4)] == [b"0p rof"] * 4
    assert store_of(local_parties, "p1").names() == []
    assert list((tmp_path / "stock" / "p1").glob("*.tape")) == []


def test_a_new_load_of_the_model_burns_what_was_dealt_for_the_old_one(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    deal(operator, manifest, 2)
    client.unload_model(manifest.digest)
    for name in ("p0", "p1"):
        (tally,) = store_of(local_parties, name).tallies()
        assert (tally.state, tally.count, tally.why) == ("burnt", 2, "the model was loaded anew")
    with pytest.raises(ModelNotLoaded):
        deal(operator, manifest)
    client.load_model(manifest, shares)
    deal(operator, manifest)
    assert predict(client, manifest).costs.reports["p0"].deal


def test_what_one_party_lost_the_other_burns_when_they_meet_again(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    deal(operator, manifest, 3)
    lost = store_of(local_parties, "p1").names()[0]
    store_of(local_parties, "p1").burn([lost], "a test")
    # p0 does not know: it spends the deal, p1 refuses, no byte is sent, and both compare before the next session.
    with pytest.raises(NoCorrelations, match="is burnt, it cannot be used"):
        predict(client, manifest)
    assert predict(client, manifest).costs.reports["p0"].deal != lost
    also = store_of(local_parties, "p0").names()[0]
    store_of(local_parties, "p0").burn([also], "a test")
    comparing = role_of(local_parties, "p0").comparing
    assert comparing is not None
    comparing.again()
    eventually(lambda: store_of(local_parties, "p1").names() == [])


@pytest.mark.parametrize("rendezvous_seconds", [3.0])
def test_a_party_that_comes_back_compares_before_anything_is_spent(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties
) -> None:
    deal(operator, manifest, 2)
    local_parties.stop("p1")
    with pytest.raises(PartyUnreachable):
        predict(client, manifest)
    # p0 saw p1 go, so the session cost no deal.
    assert len(store_of(local_parties, "p0").names()) == 2
    local_parties.start("p1")
    eventually(lambda: _compared(local_parties))
    assert len(store_of(local_parties, "p1").names()) == len(store_of(local_parties, "p0").names()) == 2


def test_a_damaged_tape_ends_its_session_and_no_other(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties, tmp_path: Path
) -> None:
    deal(operator, manifest, 2)
    first = store_of(local_parties, "p1").names()[0]
    tape = tmp_path / "stock" / "p1" / f"{first}.tape"
    data = bytearray(tape.read_bytes())
    data[150] ^= 1
    tape.write_bytes(data)
    with pytest.raises(CorrelationsDamaged, match=f"tape {short_name(first)}: segment 1 was changed"):
        predict(client, manifest)
    assert predict(client, manifest).payloads == (b"0p rof", b"1p rof")
    assert used(local_parties)[0][0][0] == first


def test_many_sessions_at_a_time_take_a_deal_each(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties
) -> None:
    deal(operator, manifest, 6)
    names: list[str] = []

    def some() -> None:
        names.extend(predict(client, manifest).costs.reports["p1"].deal for _ in range(2))

    threads = [threading.Thread(target=some) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == len(names) == 6
    assert sorted(used(local_parties)[0]) == sorted(used(local_parties)[1])


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes p0 or p1 fail right after it has spent a deal."""

    def at(name: str) -> None:
        method = "spend_oldest" if name == "p0" else "spend"
        real = getattr(Store, method)

        def spend_and_fail(*arguments: object) -> None:
            real(*arguments)
            raise ProtocolError(f"{name} was told to fail between the spendings")

        monkeypatch.setattr(Store, method, spend_and_fail)

    yield at


@pytest.mark.parametrize("name", ["p0", "p1"])
def test_a_party_that_fails_between_the_spendings_is_blamed_and_the_deal_is_lost(
    name: str,
    breaking: Callable[[str], None],
    client: Client,
    manifest: FakeManifest,
    operator: Operator,
    local_parties: LocalParties,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deal(operator, manifest, 2)
    breaking(name)
    with pytest.raises(ProtocolError, match=f"{name} was told to fail"):
        predict(client, manifest)
    monkeypatch.undo()
    eventually(lambda: _compared(local_parties))
    predict(client, manifest)
    at_p0, at_p1 = used(local_parties)
    assert len(at_p0) == 2
    assert at_p1 == (at_p0[1:] if name == "p0" else at_p0)
    assert store_of(local_parties, "p0").names() == []
    # What p1 alone still has, the next comparison burns.
    comparing = role_of(local_parties, "p0").comparing
    assert comparing is not None
    comparing.again()
    eventually(lambda: store_of(local_parties, "p1").names() == [])


def test_the_dealer_is_refused_what_does_not_fit(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties
) -> None:
    store_of(local_parties, "p1")._max_bytes = 1000
    deal(operator, manifest, 2)
    with pytest.raises(StockFull, match=r"no room|more than the"):
        deal(operator, manifest, 9)
    assert store_of(local_parties, "p0").names() == store_of(local_parties, "p1").names()
    assert len(store_of(local_parties, "p0").names()) >= 2


def test_a_request_that_the_model_does_not_serve_is_not_dealt_for(manifest: FakeManifest, operator: Operator) -> None:
    with pytest.raises(InputError, match="no layers"):
        deal(operator, manifest, 1, FakeRequest(layers=0))
    with pytest.raises(ProtocolError, match="told to fail"):
        deal(operator, manifest, 1, FakeRequest(fail_at="dealer 1"))


def test_a_deal_that_fails_half_way_is_in_no_stock(
    manifest: FakeManifest, operator: Operator, local_parties: LocalParties, tmp_path: Path
) -> None:
    with pytest.raises(SecureInferenceError):
        deal(operator, manifest, 1, FakeRequest(fail_at="dealer 2"))
    at_p1 = store_of(local_parties, "p1")
    eventually(lambda: not at_p1._unsettled)
    assert {tally.state for tally in at_p1.tallies()} <= {"burnt"}
    assert store_of(local_parties, "p0").names() == []
    assert list((tmp_path / "stock" / "p1").glob("*.tape")) == []


def test_the_stock_is_shown_verified_and_burnt_by_its_operator_alone(
    client: Client, manifest: FakeManifest, operator: Operator, local_parties: LocalParties, tmp_path: Path
) -> None:
    deal(operator, manifest, 3)
    at_p1 = Operator(local_parties.settings, "p1")
    (row,) = at_p1.stock("show")
    assert (row["state"], row["count"]) == ("stock", 3)
    assert at_p1.stock("verify") == []
    damaged = store_of(local_parties, "p1").names()[1]
    (tmp_path / "stock" / "p1" / f"{damaged}.tape").write_bytes(b"nothing")
    assert at_p1.stock("verify") == [{"damaged": f"{short_name(damaged)}: it is no tape of this version"}]
    assert at_p1.stock("burn", row["shape"]) == [{"burnt": 2}]
    assert Operator(local_parties.settings, "p0").stock("burn") == [{"burnt": 3}]
    assert at_p1.stock("troubles") == []
    working = role_of(local_parties, "p1").working_ahead
    assert working is not None
    working.stop()  # its next turn would have no trouble
    working.background.trouble = "a test"
    assert at_p1.stock("troubles") == [{"trouble": "work ahead: a test"}]
    with pytest.raises(ConfigurationError, match="keeps no stock"):
        operator.stock("show")
    with pytest.raises(ConfigurationError, match="deals nothing ahead"):
        at_p1.deal(manifest.digest, REQUEST.to_json(), 1)


@pytest.mark.parametrize("role", ["client", "p0"])
def test_nobody_else_may_deal(role: str, manifest: FakeManifest, local_parties: LocalParties) -> None:
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        session=new_session_id(),
        role=role,
        kind=Kind.KIND_DEAL,
        model_digest=manifest.digest,
        request=REQUEST.to_json(),
        family="beaver",
        count=1,
    )
    dialer = Dialer(local_parties.settings, role)
    with pytest.raises(HandshakeError, match="role"):
        dialer.dial("dealer", "Run", hello)
    dialer.close()


@pytest.mark.parametrize("without", ["p0", "p1", "client"])
@pytest.mark.parametrize("fallback", [True])
def test_where_one_keeps_no_stock_the_dealer_is_asked(
    without: str, local_parties: LocalParties, client: Client, manifest: FakeManifest, shares: dict[str, Path]
) -> None:
    with_stock = local_parties.settings
    if without == "client":
        client.settings = replace(with_stock, stock=None)
        eventually(lambda: _compared(local_parties))
        deal(Operator(with_stock, "dealer"), manifest)
    else:
        local_parties.stop(without)
        local_parties.settings = replace(with_stock, stock=None)
        local_parties.start(without)
        client.load_model(manifest, shares)
    prediction = predict(client, manifest)
    assert set(prediction.costs.reports) == {"p0", "p1", "dealer"}
    assert prediction.payloads == (b"0p rof", b"1p rof")
