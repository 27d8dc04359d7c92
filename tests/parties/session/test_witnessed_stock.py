"""Three evaluators with a stock: a deal serves one session, whichever of them deviates or lost what it had written."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from secure.models.program import ClientSteps
from secure.parties.client.client import Client, Prediction
from secure.parties.client.operator import Operator
from secure.parties.config import CALLERS, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.roles.engine import MeterRows, Tools
from secure.parties.roles.witnessed import EvaluatingRole, EvaluatorTools
from secure.parties.session.session import Session
from secure.parties.stock.from_stock import FromStock
from secure.parties.stock.store import Deal, Store
from secure.parties.stock_settings import StockSettings
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import HandshakeError, NoCorrelations, SecureInferenceError
from secure.protocols.core.profile import Profile
from tests.parties.fakes import FakeEngine, FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

EVALUATORS = ("p0", "p1", "p2")
ROLES = (*EVALUATORS, "dealer")
REQUEST = FakeRequest(layers=3)
PAYLOADS = (b"for p0", b"for p1", b"for p2")
ANSWERS = tuple(payload[::-1] for payload in PAYLOADS)


class Computing(FakeEngine):
    """Notes of each evaluator's session what it has when it begins to compute, so before it sends anything masked."""

    def __init__(self) -> None:
        self.begun: list[EvaluatorTools] = []

    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        if isinstance(tools, EvaluatorTools):
            self.begun.append(tools)
        return super().predict(tools, model, request_json, client, profile)

    def by_deal(self, role: str) -> list[tuple[str, str]]:
        """In which session an evaluator has used which deal."""
        number = EVALUATORS.index(role)
        return [
            (tools.deal.hex(), tools.session.hex())
            for tools in self.begun
            if tools.deal is not None and tools.number == number
        ]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four") / "certificates"
    make_certificates(folder, roles=(*ROLES, *CALLERS))
    return folder


@pytest.fixture
def engine() -> Computing:
    return Computing()


@pytest.fixture
def fallback() -> bool:
    return False


@pytest.fixture
def parties(tls: Path, tmp_path: Path, engine: Computing, fallback: bool) -> Iterator[LocalParties]:
    addresses = {role: PartySettings(address, address) for role, address in free_addresses(ROLES).items()}
    settings = PartiesSettings(
        addresses,
        tls,
        protocol="witnessed",
        limits=Limits(rendezvous_seconds=60.0, sessions=4),
        stock=StockSettings(tmp_path / "stock", key="file", fallback=fallback),
    )
    started = LocalParties(settings, engine=engine)
    yield started
    started.stop_all()


@pytest.fixture
def client(parties: LocalParties) -> Iterator[Client]:
    with Client(parties.settings) as found:
        yield found


@pytest.fixture
def manifest(client: Client, tmp_path: Path) -> FakeManifest:
    files = {role: tmp_path / f"{role}.share" for role in EVALUATORS}
    for path in files.values():
        path.write_bytes(b"abc")
    found = FakeManifest()
    client.load_model(found, files)
    return found


def role_of(parties: LocalParties, name: str) -> EvaluatingRole:
    role = parties.servers[name]._peers
    assert isinstance(role, EvaluatingRole)
    return role


def way_of(parties: LocalParties, name: str) -> FromStock:
    found = role_of(parties, name).from_stock
    assert found is not None
    return found


def names(parties: LocalParties, name: str) -> list[str]:
    return way_of(parties, name).store.names()


def spent(parties: LocalParties, name: str) -> list[tuple[str, str]]:
    ledger = way_of(parties, name).store._ledger
    return list(ledger._read("select name, session from deals where state = 'spent' order by number"))


def compared(parties: LocalParties) -> None:
    eventually(way_of(parties, "p0").compared.is_set)


def compare_again(parties: LocalParties) -> None:
    comparing = role_of(parties, "p0").comparing
    assert comparing is not None
    comparing.again()
    compared(parties)


def deal(parties: LocalParties, manifest: FakeManifest, count: int = 1) -> list[str]:
    """Names that p0 has then, the next one first."""
    Operator(parties.settings, "dealer").deal(manifest.digest, REQUEST.to_json(), count)
    return names(parties, "p0")


def predict(client: Client, manifest: FakeManifest) -> Prediction:
    return client.predict(manifest.digest, manifest.policy.digest(), REQUEST, PAYLOADS)


def test_predictions_from_stock_need_no_dealer_and_have_a_common_seed_each(
    parties: LocalParties, client: Client, manifest: FakeManifest, engine: Computing
) -> None:
    first, second = deal(parties, manifest, 2)
    assert names(parties, "p0") == names(parties, "p1") == names(parties, "p2")
    parties.stop("dealer")
    for due in (first, second):
        prediction = predict(client, manifest)
        assert prediction.payloads == ANSWERS
        assert {role: each.deal for role, each in prediction.costs.reports.items()} == dict.fromkeys(EVALUATORS, due)
    assert spent(parties, "p0") == spent(parties, "p1") == spent(parties, "p2")
    assert [spent(parties, role) for role in EVALUATORS] == [engine.by_deal(role) for role in EVALUATORS]
    assert len({tools.common_seed for tools in engine.begun}) == 2
    given = {seed for tools in engine.begun for seed in tools.seeds}
    assert len(given) == 6 and not given & {tools.common_seed for tools in engine.begun}
    with pytest.raises(NoCorrelations, match="there are none of any shape"):
        predict(client, manifest)


@pytest.mark.parametrize("fallback", [True])
def test_without_a_deal_the_dealer_is_asked(
    parties: LocalParties, client: Client, manifest: FakeManifest, engine: Computing
) -> None:
    live = predict(client, manifest)
    assert set(live.costs.reports) == set(ROLES) and live.payloads == ANSWERS
    assert all(tools.deal is None for tools in engine.begun)
    compared(parties)
    (name,) = deal(parties, manifest)
    assert predict(client, manifest).costs.reports["p2"].deal == name


@pytest.mark.parametrize("role", [*(pytest.param(role, marks=pytest.mark.slow) for role in ("p0", "p1")), "p2"])
def test_what_not_all_three_have_is_burnt(
    role: str, parties: LocalParties, client: Client, manifest: FakeManifest, engine: Computing
) -> None:
    lost, kept = deal(parties, manifest, 2)
    compared(parties)
    way_of(parties, role).store.burn([lost], "a test")
    if role != "p0":  # which does not know, names it, and is refused before anything is sent
        with pytest.raises(NoCorrelations, match="is burnt, it cannot be used"):
            predict(client, manifest)
        assert not engine.begun
    compare_again(parties)
    eventually(lambda: all(names(parties, each) == [kept] for each in EVALUATORS))
    assert predict(client, manifest).payloads == ANSWERS
    assert {deal for each in EVALUATORS for deal, _ in engine.by_deal(each)} == {kept}


def test_a_party_that_was_away_compares_before_anything_is_spent(
    parties: LocalParties, client: Client, manifest: FakeManifest
) -> None:
    deal(parties, manifest, 2)
    compared(parties)
    parties.stop("p2")
    eventually(lambda: not way_of(parties, "p0").compared.is_set())
    parties.start("p2", Computing())
    compared(parties)
    assert len(names(parties, "p0")) == len(names(parties, "p1")) == len(names(parties, "p2")) == 2
    assert predict(client, manifest).payloads == ANSWERS


def test_what_one_holder_lacks_after_a_deal_that_failed_is_in_no_stock(
    parties: LocalParties, manifest: FakeManifest
) -> None:
    """p2's disk is full: p1, which had all of it, has it no more when stocks are compared; p0 never had it."""
    (kept,) = deal(parties, manifest)
    way_of(parties, "p2").store._max_bytes = 1
    with pytest.raises(SecureInferenceError):
        deal(parties, manifest)
    assert names(parties, "p0") == [kept]
    eventually(lambda: not way_of(parties, "p1").store._unsettled)
    compare_again(parties)
    eventually(lambda: names(parties, "p1") == names(parties, "p2") == [kept])


# One of the three deviates.


def deviate(parties: LocalParties, patch: pytest.MonkeyPatch, role: str, wanted: str) -> None:
    """Without a look at its own ledger the evaluator takes the wanted deal, and names that to the one after it."""

    def take(session: Session, offered: Hello | None = None) -> Deal:
        session.hello.deal = wanted
        return Deal(wanted, bytes(32), None)

    patch.setattr(way_of(parties, role), "take" if role == "p0" else "adopt", take)


@pytest.mark.parametrize(
    ("rolled_back", "deviating"),
    [
        *(("p1", "p0"), ("p2", "p1"), ("p0", "p2")),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("p2", "p0"), ("p0", "p1"), ("p1", "p2"))),
    ],
)
def test_an_evaluator_that_is_rolled_back_is_stopped_by_the_other_honest_one(
    rolled_back: str,
    deviating: str,
    parties: LocalParties,
    client: Client,
    manifest: FakeManifest,
    engine: Computing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its disk is that of before the deal was spent, and whoever deviates wants the deal once more."""
    name, _ = deal(parties, manifest, 2)
    compared(parties)
    disk, before = tmp_path / "stock" / rolled_back, tmp_path / "before"
    shutil.copytree(disk, before)
    predict(client, manifest)
    parties.stop(rolled_back)
    shutil.rmtree(disk)
    shutil.copytree(before, disk)
    # A comparison would burn it, if p0 says what it has: nothing is to rest on that.
    monkeypatch.setattr(Store, "burn_missing", lambda store, mine, theirs: 0)
    parties.start(rolled_back, engine)
    compared(parties)
    assert name in names(parties, rolled_back)
    deviate(parties, monkeypatch, deviating, name)
    with pytest.raises(SecureInferenceError):
        predict(client, manifest)
    for role in EVALUATORS:
        if role != deviating:
            assert [used for used, _ in engine.by_deal(role)] == [name]


def test_p0_cannot_name_a_deal_twice(
    parties: LocalParties,
    client: Client,
    manifest: FakeManifest,
    engine: Computing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In two sessions at a time, and in a later one."""
    name, _ = deal(parties, manifest, 2)
    compared(parties)
    deviate(parties, monkeypatch, "p0", name)

    def call() -> None:
        with suppress(SecureInferenceError):
            predict(client, manifest)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(NoCorrelations, match="is spent, it cannot be used"):
        predict(client, manifest)
    assert len(engine.by_deal("p1")) <= 1 and len(spent(parties, "p1")) == 1
    assert engine.by_deal("p2") == spent(parties, "p2") or not engine.by_deal("p2")
    assert {*engine.by_deal("p1"), *engine.by_deal("p2")} <= set(spent(parties, "p1"))


@pytest.mark.parametrize("deviating", ["p1", "p2"])
def test_an_evaluator_that_names_another_deal_than_it_heard_is_given_away(
    deviating: str,
    parties: LocalParties,
    client: Client,
    manifest: FakeManifest,
    engine: Computing,
) -> None:
    _, second, third = deal(parties, manifest, 3)
    compared(parties)
    way = way_of(parties, deviating)
    with pytest.MonkeyPatch.context() as patch:
        adopt = way.adopt

        def lies(session: Session, offered: Hello) -> Deal | None:
            found = adopt(session, offered)
            session.hello.deal = second
            return found

        patch.setattr(way, "adopt", lies)
        with pytest.raises(HandshakeError, match="deal differs"):
            predict(client, manifest)
    assert not [tools for tools in engine.begun if tools.number != EVALUATORS.index(deviating)]
    compare_again(parties)
    left = [second, third] if deviating == "p2" else [third]
    eventually(lambda: all(names(parties, role) == left for role in EVALUATORS))
    assert predict(client, manifest).costs.reports["p0"].deal == left[0]


@pytest.mark.parametrize("role", ["p0", pytest.param("p1", marks=pytest.mark.slow), "p2"])
def test_who_says_that_it_has_nothing_burns_everything_and_no_more(
    role: str,
    parties: LocalParties,
    client: Client,
    manifest: FakeManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deal(parties, manifest, 2)
    compared(parties)
    with monkeypatch.context() as patch:
        patch.setattr(way_of(parties, role).store, "names", lambda binding=None: [])
        compare_again(parties)
        eventually(lambda: not any(names(parties, each) for each in EVALUATORS if each != role))
    compare_again(parties)  # now it tells what it kept, which is nobody else's
    deal(parties, manifest)
    assert predict(client, manifest).payloads == ANSWERS
