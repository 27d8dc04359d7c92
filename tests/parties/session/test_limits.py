"""What a client may make the parties hold, compute and wait for before it has sent anything of its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.families.bert import BertConfig, parameters
from secure.models.program import LoadedModel
from secure.parties.client.client import Client
from secure.parties.client.run import Run
from secure.parties.config import CALLERS, PARTIES, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.model_engine import ModelEngine
from secure.parties.roles.dealer import DealerTools
from secure.parties.roles.engine import Tools
from secure.parties.roles.store import StoredModel
from secure.parties.session.reservations import Reservations
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.wire_pb2 import Kind
from secure.protocols.core.errors import InputError, PartyLost, SessionError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.profile import NEAR
from secure.protocols.families import FAMILIES
from tests.parties.fakes import FakeEngine, FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually


@pytest.mark.parametrize("role", PARTIES)
def test_a_request_that_takes_more_memory_than_is_free_is_refused_with_the_figures(
    client: Client, manifest: FakeManifest, local_parties: LocalParties, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr(FakeEngine, "memory_bytes", 999)
    words = r"^(p\d|dealer) would take about 2\.00 GB of memory for this request, of which 999 B are free for it"
    with pytest.raises(InputError, match=words):
        client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(memory_bytes=2_000_000_000), (b"a", b"b"))
    client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(memory_bytes=999), (b"a", b"b"))


def test_sessions_do_not_count_on_the_same_memory() -> None:
    free = 100
    reservations = Reservations("p0", lambda: free)
    with reservations.reserved(60):
        # The first session has not taken anything yet.
        with pytest.raises(InputError, match=r"60 B of memory .* 40 B are free"), reservations.reserved(60):
            pass
        free = 30  # other things were taken
        with pytest.raises(InputError, match="30 B are free"), reservations.reserved(40):
            pass
    with reservations.reserved(30):
        pass


def test_a_session_takes_no_more_than_it_may_however_much_is_free(
    settings: PartiesSettings, shares: dict[str, Path]
) -> None:
    """P1's file alone has a limit, which it keeps."""
    limited = replace(settings, limits=replace(settings.limits, session_bytes=1000))
    parties, manifest = LocalParties(settings, {"p1": limited}), FakeManifest()
    with Client(settings) as client:
        client.load_model(manifest, shares)
        words = r"p1 would take about 1\.00 kB of memory for this request, and gives a session 1\.00 kB at most"
        with pytest.raises(InputError, match=words):
            client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(memory_bytes=1001), (b"a", b"b"))
        client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(memory_bytes=1000), (b"a", b"b"))
    parties.stop_all()


class Recording(FakeEngine):
    """Says when the dealer computes."""

    def __init__(self) -> None:
        self.dealt = threading.Event()

    def _talk(self, tools: Tools, request: FakeRequest) -> None:
        if isinstance(tools, DealerTools) and request.layers == 3:  # a prediction
            self.dealt.set()
        super()._talk(tools, request)


def test_the_dealer_begins_when_both_parties_have_an_input_coming(
    local_parties: LocalParties, shares: dict[str, Path]
) -> None:
    engine, manifest = Recording(), FakeManifest()
    local_parties.stop("dealer")
    local_parties.start("dealer", engine)
    with Client(local_parties.settings) as client:
        client.load_model(manifest, shares)
        with client.converse(manifest.digest, manifest.policy.digest(), FakeRequest(), 1) as conversation:
            # One party alone has an input: what only p1 is sent gets nothing dealt.
            conversation._run.send("p1", b"ab")
            assert not engine.dealt.wait(0.5)
            conversation._run.send("p0", b"ab")
            conversation._witness.step((b"ab", b"ab"), conversation._run.answers(None))
            conversation._step = 1
            conversation._run.finish()
        assert engine.dealt.is_set()
        engine.dealt.clear()
        with client.converse(manifest.digest, manifest.policy.digest(), FakeRequest(), 1):
            pass
        assert not engine.dealt.is_set(), "nothing is dealt for a client that wanted nothing"


@pytest.fixture
def impatient(settings: PartiesSettings) -> PartiesSettings:
    return replace(settings, limits=replace(settings.limits, idle_seconds=0.3))


def test_a_client_that_sends_nothing_holds_no_place(impatient: PartiesSettings, shares: dict[str, Path]) -> None:
    parties, manifest = LocalParties(impatient), FakeManifest()
    with Client(impatient) as client:
        client.load_model(manifest, shares)
        words = r"p\d waited 0 s for the input from client; a session that is left idle is ended"
        with (
            pytest.raises(SessionError, match=words),
            client.converse(manifest.digest, manifest.policy.digest(), FakeRequest(), 1) as conversation,
        ):
            eventually(lambda: all(server.sessions == 0 for server in parties.servers.values()))
            conversation.step((b"a", b"b"))
        hello = client._hello(Kind.KIND_LOAD, "00", "00")
        hello.load_id = hello.session
        with Run(client._dialer, hello, impatient.family) as run:
            run.listen()
            with pytest.raises(SessionError, match=r"waited 0 s for the upload from client"):
                run.collect(None)
    parties.stop_all()


def test_a_client_that_reads_nothing_holds_no_stream(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    """It asks for much, and lets it lie: sessions are over, and streams and what they hold are, too."""
    # Long enough for an honest client on a busy machine.
    waiting = replace(settings, limits=replace(settings.limits, idle_seconds=3.0))
    parties, manifest, request = LocalParties(waiting), FakeManifest(), FakeRequest()
    with Client(waiting) as client:
        client.load_model(manifest, shares)
        with client._open(manifest.digest, manifest.policy.digest(), request) as run:
            # More than any window or buffer on the way takes.
            for role in ("p0", "p1"):
                run.send(role, bytes(64 << 20))
            run.finish()
            eventually(lambda: all(server.sessions == 0 for server in parties.servers.values()))
            eventually(lambda: all(server.client_streams == 0 for server in parties.servers.values()))
            with pytest.raises(PartyLost, match="went away"):
                while run.links["p0"].receive():
                    pass
        assert client.predict(manifest.digest, manifest.policy.digest(), request, (b"ab", b"cd")).payloads
    parties.stop_all()


def test_a_stream_without_a_hello_is_ended(impatient: PartiesSettings) -> None:
    parties = LocalParties(impatient)
    with Client(impatient) as client:
        for stream in ("Run", "Abandon"):
            link = client._dialer._open("p0", stream, None)
            with pytest.raises(PartyLost):
                link.next_frame()
    eventually(lambda: parties.servers["p0"].client_streams == 0)
    parties.stop_all()


def idle_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("idle")


def test_one_thread_looks_after_all_steps_of_all_sessions(settings: PartiesSettings, shares: dict[str, Path]) -> None:
    before, manifest, request = idle_threads(), FakeManifest(), FakeRequest(steps=5)
    parties = LocalParties(settings)
    with Client(settings) as client:
        client.load_model(manifest, shares)
        with client.converse(manifest.digest, manifest.policy.digest(), request, 5) as conversation:
            for _ in range(5):
                conversation.step((b"ab", b"cd"))
                assert idle_threads() <= before + len(PARTIES)
    parties.stop_all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_role_refuses_a_large_request_of_few_bytes_with_the_figure(family: str, tmp_path: Path) -> None:
    """BERT-base at 4096 x 512, before it is accepted: its table of positions alone has 512 GB of words."""
    make_certificates(tmp_path / "tls", roles=(*FAMILIES[family].roles, *CALLERS))
    addresses = {role: PartySettings(where, where) for role, where in free_addresses(FAMILIES[family].roles).items()}
    settings = PartiesSettings(addresses, tmp_path / "tls", protocol=family)
    config, policy = BertConfig(30522, 768, 12, 12, 3072, 512, 2, 1e-12), FixedPointPolicy()
    sizes = parameters(config, policy.fraction_bits, public=False)
    manifest = Manifest("bert", config.to_dict(), policy, "private", sizes, protocol=family)
    parties = LocalParties(settings, engine=ModelEngine())
    for server in parties.servers.values():
        model = StoredModel("a load", policy.digest(), LoadedModel(manifest, {}))
        server._worker.models.put(manifest.digest, model)
    with Client(settings) as client:
        for role in settings.parties:
            hello = client._hello(Kind.KIND_PREDICT, manifest.digest, policy.digest())
            hello.load_id, hello.request = "a load", Request("hidden", 4096, 512, True).to_json()
            hello.profile = NEAR.name
            words = rf"^{role} would take about \d+\.\d+ TB of memory for this request, of which .* are free for it"
            with pytest.raises(InputError, match=words):
                client._dialer.dial(role, "Run", hello)
    parties.stop_all()
