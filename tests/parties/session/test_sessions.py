"""Sessions of a client with three servers in this process: what comes back, what is counted, what is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.client.run import Progress
from secure.parties.config import PARTIES
from secure.parties.roles.engine import Tools
from secure.parties.roles.store import ModelStore, StoredModel
from secure.parties.session.client_watch import ClientWatch
from secure.parties.session.session import Registry, Session
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import (
    CheckpointError,
    HandshakeError,
    InputError,
    PartyLost,
    PartyUnreachable,
    ProtocolError,
    SecureInferenceError,
    SessionError,
)
from tests.parties.fakes import FakeEngine, FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

PAYLOADS = (b"for p0", b"for p1")


def predict(
    client: Client,
    manifest: FakeManifest,
    request: FakeRequest | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[bytes, bytes]:
    request = request or FakeRequest()
    return client.predict(manifest.digest, manifest.policy.digest(), request, PAYLOADS, progress).payloads


def test_a_prediction_comes_back_with_its_reports(client: Client, manifest: FakeManifest) -> None:
    request = FakeRequest(layers=5, message_bytes=100, correction_bytes=1000)
    prediction = client.predict(manifest.digest, manifest.policy.digest(), request, PAYLOADS)
    assert prediction.payloads == (b"0p rof", b"1p rof")
    assert set(prediction.costs.reports) == set(PARTIES)
    p0, p1, dealer = (prediction.costs.reports[role] for role in PARTIES)
    assert p0.wire_bytes_sent == {"dealer": 0, "p1": 500, "client": 6}
    assert p0.wire_bytes_received == {"dealer": 16, "p1": 16 + 500, "client": 6}
    assert p1.wire_bytes_sent == {"dealer": 0, "p0": 16 + 500, "client": 6}
    assert p1.wire_bytes_received == {"dealer": 16 + 5000, "p0": 500, "client": 6}
    # The dealer hands out seeds and corrections, and gets nothing.
    assert dealer.wire_bytes_sent == {"p0": 16, "p1": 16 + 5000, "client": 0}
    assert dealer.wire_bytes_received == {"p0": 0, "p1": 0, "client": 0}
    assert (p0.messages["p1"], p1.messages["p0"], dealer.messages["p1"]) == (5, 6, 6)
    assert p0.rows == [{"layer": "predict", "role": 0, "profile": "near"}]
    assert 0 < p0.seconds <= prediction.costs.seconds
    assert {report.memory_bytes for report in (p0, p1, dealer)} == {0}, "what the request said it takes"
    assert set(p1.waiting_seconds) == {"dealer", "p0", "client"}
    assert all(report.cpu_seconds > 0 for report in (p0, p1, dealer))


def test_progress_names_every_layer_in_order(client: Client, manifest: FakeManifest) -> None:
    seen: list[Progress] = []
    predict(client, manifest, FakeRequest(layers=3), seen.append)
    for role in PARTIES:
        assert [event for event in seen if event.role == role] == [
            Progress(role, f"layer {index}", index) for index in range(3)
        ]


def test_large_payloads_are_cut_and_put_together(client: Client, manifest: FakeManifest) -> None:
    payloads = (bytes(range(256)) * 20_000, b"")
    prediction = client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(), payloads)
    assert prediction.payloads == (payloads[0][::-1], b"")


def test_the_dealer_runs_no_further_ahead_than_its_budgets(
    local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    # Fifty times what any queue may hold passes through.
    small = replace(local_parties.settings.limits, dealer_send_bytes=1 << 20, dealer_receive_bytes=1 << 20)
    local_parties.stop_all()
    local_parties.settings = replace(local_parties.settings, limits=small)
    for role in PARTIES:
        local_parties.start(role)
    with Client(local_parties.settings) as client:
        manifest = FakeManifest()
        client.load_model(manifest, shares)
        predict(client, manifest, FakeRequest(layers=25, correction_bytes=2 << 20))


def test_loading_again_is_cheap(client: Client, manifest: FakeManifest, tmp_path: Path) -> None:
    seen: list[Progress] = []
    # The files are not read: no share travels again.
    client.load_model(manifest, None, seen.append)
    assert seen == []
    predict(client, manifest)


def test_an_owner_loads_and_unloads_but_does_not_predict(client: Client, manifest: FakeManifest) -> None:
    with Client(client.settings, role="owner") as owner:
        owner.load_model(manifest, None)
        with pytest.raises(HandshakeError, match=r"role differs: .*'predict is for client', the other side 'owner'"):
            predict(owner, manifest)
        owner.unload_model(manifest.digest)


def test_parties_serve_shares_from_their_own_disk(local_parties: LocalParties, shares: dict[str, Path]) -> None:
    local_parties.stop_all()
    local_parties.settings = replace(local_parties.settings, models_dir=shares["p0"].parent)
    for role in PARTIES:
        local_parties.start(role)
    with Client(local_parties.settings) as client:
        client.load_model(FakeManifest())
        predict(client, FakeManifest())


def test_a_missing_share_is_the_error_that_the_client_gets(client: Client) -> None:
    with pytest.raises(CheckpointError, match=r"p[01]\.share is not there"):
        client.load_model(FakeManifest("other"), None)


def test_a_share_that_does_not_fit_is_refused(client: Client, shares: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"the file that was uploaded to p[01] has 3 bytes instead of 4"):
        client.load_model(FakeManifest(share_bytes=4), shares)


def test_a_share_in_many_chunks_arrives_whole(client: Client, tmp_path: Path) -> None:
    size = (3 << 20) + 5
    files = {role: tmp_path / f"{role}.large" for role in ("p0", "p1")}
    for path in files.values():
        path.write_bytes(bytes(size))
    client.load_model(FakeManifest(share_bytes=size), files)


def test_a_share_above_the_limit_says_how_much_is_allowed(
    local_parties: LocalParties, shares: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    local_parties.stop_all()
    settings = local_parties.settings
    local_parties.settings = replace(settings, limits=replace(settings.limits, share_bytes=2))
    for role in PARTIES:
        local_parties.start(role)
    limited = pytest.raises(CheckpointError, match=r"share of p\d has 3 B, .*share_bytes allows uploads of 2 B")
    with Client(local_parties.settings) as client, limited:
        client.load_model(FakeManifest(), shares)
    monkeypatch.setattr("secure.parties.roles.memory.available_bytes", lambda: 1)
    local_parties.stop_all()
    local_parties.settings = settings
    for role in PARTIES:
        local_parties.start(role)
    with (
        Client(settings) as client,
        pytest.raises(CheckpointError, match=r"has 3 B, 1 B of its memory are free .* unload\(\)"),
    ):
        client.load_model(FakeManifest(), shares)


def test_an_unreadable_share_is_refused_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent cannot be read"):
        client.load_model(FakeManifest(), {"p0": tmp_path / "absent", "p1": tmp_path / "absent"})


def test_predicting_without_loading_says_so(client: Client) -> None:
    with pytest.raises(SessionError, match="was not loaded through this client"):
        predict(client, FakeManifest())


def test_calls_after_closing_say_so_at_once(
    client: Client, manifest: FakeManifest, shares: dict[str, Path], local_parties: LocalParties
) -> None:
    client.close()
    local_parties.stop_all()
    calls: tuple[Callable[[], object], ...] = (
        lambda: predict(client, manifest),
        lambda: client.load_model(manifest, shares),
        lambda: client.unload_model(manifest.digest),
        client.health,
    )
    for call in calls:
        with pytest.raises(SessionError, match="client's connections to the parties were closed; launch or connect"):
            call()


def test_an_unloaded_model_has_to_be_loaded_again(
    client: Client, manifest: FakeManifest, shares: dict[str, Path]
) -> None:
    with Client(client.settings) as other:
        other.unload_model(manifest.digest)
    with pytest.raises(SessionError, match=r"has no model .* unloaded or loaded anew; load the model again"):
        predict(client, manifest)
    client.load_model(manifest, shares)
    predict(client, manifest)


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
def test_a_restarted_party_makes_all_load_again(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    local_parties.stop("p1")
    local_parties.start("p1")
    with pytest.raises(SessionError, match=r"p1 has no model .*, p1 was restarted, or .*; load the model again"):
        predict(client, manifest)
    client.load_model(manifest, shares)
    predict(client, manifest)


def test_an_error_shows_a_client_no_path_of_a_partys_host(
    local_parties: LocalParties, shares: dict[str, Path], tmp_path: Path
) -> None:
    local_parties.stop_all()
    local_parties.settings = replace(local_parties.settings, models_dir=tmp_path)
    for name in PARTIES:
        local_parties.start(name)
    with Client(local_parties.settings) as client:
        with pytest.raises(CheckpointError, match=r"p\d's \[models\] dir/p\d\.share has 3 bytes instead of 4") as found:
            client.load_model(FakeManifest(share_bytes=4))
        assert str(tmp_path) not in str(found.value)


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
@pytest.mark.parametrize("role", PARTIES)
def test_a_restarted_party_serves_from_its_disk_again_under_new_masks(
    local_parties: LocalParties, shares: dict[str, Path], role: str
) -> None:
    local_parties.stop_all()
    local_parties.settings = replace(local_parties.settings, models_dir=shares["p0"].parent)
    for name in PARTIES:
        local_parties.start(name)
    with Client(local_parties.settings) as client:
        client.load_model(FakeManifest())
        before = dict(client._load_ids)
        local_parties.stop(role)
        local_parties.start(role)
        assert predict(client, FakeManifest()) == (b"0p rof", b"1p rof")
        assert client._load_ids != before


def test_a_load_that_fails_leaves_the_model_that_is_there(
    client: Client, manifest: FakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {role: tmp_path / f"{role}.bad" for role in ("p0", "p1")}
    for path in bad.values():
        path.write_bytes(b"too long")
    with Client(client.settings) as other:
        # Loads although the equal model is there, as a client that means harm would.
        monkeypatch.setattr("secure.parties.roles.store.ModelStore.load_id", lambda *arguments: "")
        with pytest.raises(CheckpointError, match="has 8 bytes instead of 3"):
            other.load_model(manifest, bad)
    predict(client, manifest)


def test_a_model_stays_until_its_last_user_leaves_or_its_owner_unloads_it() -> None:
    store, alice, bob, owner = (
        ModelStore("p0"),
        Identity("client", "a"),
        Identity("client", "b"),
        Identity("owner", "o"),
    )
    stored = StoredModel("1", "", None)

    def loaded(*users: Identity) -> None:
        store.put("m", stored)
        for user in users:
            store.join("m", user)

    loaded(alice, bob, alice)
    store.leave("m", alice)
    store.leave("m", alice)
    store.leave("m", Identity("client", "stranger"))
    assert store.load_id("m") == "1"
    store.leave("m", bob)
    assert store.load_id("m") == ""
    loaded(owner, alice)
    store.leave("m", alice)
    assert store.load_id("m") == "1", "the owner's stays"
    store.join("m", bob)
    store.leave("m", owner)
    assert store.load_id("m") == "", "the owner takes it from all"


def session_of(session_id: str) -> Session:
    link = Link("client", iter(()), lambda: None)
    return Session("p0", Hello(session=session_id), link, ClientWatch(link, "p0", 60.0), Identity("client", "a"))


def test_session_ids_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure.parties.session.session._IDS_KEPT", 8)
    registry = Registry("p0")
    for number in range(100):
        registry.begin(session := session_of(f"{number}"))
        registry.end(session)
    assert len(registry._used) == 8
    with pytest.raises(HandshakeError, match="session id"):
        registry.begin(session_of("99"))


@pytest.mark.parametrize("role", PARTIES)
def test_an_error_at_a_party_reaches_the_client_as_itself(client: Client, manifest: FakeManifest, role: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{role} was told to fail at layer 1"):
        predict(client, manifest, FakeRequest(layers=50, fail_at=f"{role} 1"))
    predict(client, manifest)


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_has_its_say_though_it_drops_its_peers_at_once(
    client: Client, manifest: FakeManifest, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a notice may leave only after the time that it is given."""
    monkeypatch.setattr("secure.parties.session.session.FAILURE_SECONDS", 0.0)
    for _ in range(10):
        with pytest.raises(ProtocolError, match=f"^{role} was told to fail at layer 1"):
            predict(client, manifest, FakeRequest(layers=50, fail_at=f"{role} 1"))


@pytest.mark.parametrize("role", PARTIES)
def test_a_defect_at_a_party_tells_only_its_class(client: Client, manifest: FakeManifest, role: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{role} failed during layer 1 with ValueError; its own log") as caught:
        predict(client, manifest, FakeRequest(layers=50, crash_at=f"{role} 1"))
    assert "secret" not in str(caught.value)
    predict(client, manifest)


def test_an_input_error_keeps_its_class(client: Client, manifest: FakeManifest) -> None:
    with pytest.raises(InputError, match="no layers"):
        predict(client, manifest, FakeRequest(layers=0))


def test_sessions_run_at_the_same_time(client: Client, manifest: FakeManifest) -> None:
    """Each waits at its first layer until the other has got there, so one after the other would never end."""
    both = threading.Barrier(2, timeout=60)

    def meet(event: Progress) -> None:
        if (event.role, event.index) == ("p0", 0):
            both.wait()

    with futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(predict, client, manifest, FakeRequest(layers=200), meet) for _ in range(2)]
        assert [run.result() for run in runs] == [(b"0p rof", b"1p rof")] * 2


def test_a_report_tells_nothing_of_the_memory_of_a_session_beside_it(client: Client, manifest: FakeManifest) -> None:
    both, sizes = threading.Barrier(2, timeout=60), (5_000_000, 7)

    def meet(event: Progress) -> None:
        if (event.role, event.index) == ("p0", 0):
            both.wait()

    def one(memory_bytes: int) -> set[int]:
        request = FakeRequest(layers=200, memory_bytes=memory_bytes)
        found = client.predict(manifest.digest, manifest.policy.digest(), request, PAYLOADS, meet)
        return {report.memory_bytes for report in found.costs.reports.values()}

    with futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, sizes)) == [{size} for size in sizes]


def test_a_client_that_goes_away_ends_the_session_everywhere(
    client: Client, manifest: FakeManifest, local_parties: LocalParties
) -> None:
    def leave(event: Progress) -> None:
        if event.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(client, manifest, FakeRequest(layers=1_000_000), leave)
    eventually(lambda: all(server.sessions == 0 for server in local_parties.servers.values()))
    predict(client, manifest)


def test_a_party_has_stopped_when_nothing_computes_any_more(
    client: Client, local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    order: list[str] = []

    class Slow(FakeEngine):
        """In the middle of a gate when its session fails."""

        def _talk(self, tools: Tools, request: FakeRequest) -> None:
            try:
                super()._talk(tools, request)
            except SecureInferenceError:
                threading.Event().wait(0.3)
                order.append("computed")
                raise

    def stop(event: Progress) -> None:
        if event.index == 5 and not order:
            local_parties.stop("p1")
            order.append("stopped")

    local_parties.stop("p1")
    local_parties.start("p1", Slow())
    client.load_model(FakeManifest(), shares)
    with pytest.raises(PartyLost, match="p1 went away"):
        predict(client, FakeManifest(), FakeRequest(layers=1_000_000), stop)
    assert order == ["computed", "stopped"]


@pytest.mark.parametrize("rendezvous_seconds", [2.0])
@pytest.mark.parametrize("role", ["p1", *(pytest.param(role, marks=pytest.mark.slow) for role in ("p0", "dealer"))])
def test_an_unreachable_party_is_named_with_address_and_time(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, role: str
) -> None:
    local_parties.stop(role)
    address = local_parties.settings.parties[role].address
    with pytest.raises(PartyUnreachable, match=rf"{role} at {address} did not answer within 2\.0 s"):
        predict(client, manifest)
    assert client.health(0.5)[role].startswith("unreachable: ")


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_that_stops_mid_session_is_named(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, role: str
) -> None:
    def stop(event: Progress) -> None:
        if event.role == role and event.index == 20:
            local_parties.stop(role)

    with pytest.raises(PartyLost, match=f"{role} went away during layer "):
        predict(client, manifest, FakeRequest(layers=1_000_000), stop)
    local_parties.start(role)
    assert client.health(5.0) == dict.fromkeys(PARTIES, "serving")
