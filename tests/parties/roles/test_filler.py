"""The filler by itself: what it deals and when it stops, turn by turn; then at a dealer's, with a model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.exchange import input_payloads
from secure.models.program import network
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.parties.config import PARTIES, PartiesSettings
from secure.parties.process.model_engine import ModelEngine
from secure.parties.process.server import PartyServer
from secure.parties.roles import filler
from secure.parties.roles.dealing_ahead import DealsAhead
from secure.parties.roles.filler import Filler, request_of
from secure.parties.stock_settings import Keep, StockSettings
from secure.protocols.core.errors import ConfigurationError, ModelNotLoaded, SessionError, StockFull
from tests.models.decoders import save_decoder, words
from tests.parties.fakes import FakeEngine
from tests.parties.local import eventually

DIGEST = 64 * "a"
OTHER = 64 * "b"


class Counting(DealsAhead):
    """A dealer that counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.stock: dict[tuple[str, str], int] = {}
        self.fails: dict[str, Exception] = {}
        self.at_layer: Callable[[], None] = lambda: None
        self.dealt: list[str] = []

    def in_stock(self, model_digest: str, request_json: str) -> int:
        if model_digest in self.fails:
            raise self.fails[model_digest]
        return self.stock.get((model_digest, request_json), 0)

    def deal(self, model_digest: str, request_json: str, check: Callable[[], None]) -> int:
        self.at_layer()
        check()
        self.stock[model_digest, request_json] = self.in_stock(model_digest, request_json) + 1
        self.dealt.append(request_json)
        return 1


class Kept:
    """A filler of the given stock. idle: whether no session asks for the dealer."""

    def __init__(self, settings: PartiesSettings, folder: Path, *keep: Keep) -> None:
        self.deals, self.idle = Counting(), True
        stock = StockSettings(folder, keep=keep)
        self.filler = Filler(replace(settings, stock=stock), FakeEngine(), self.deals, lambda: self.idle)

    def counts(self, model: str = DIGEST) -> list[int]:
        return [count for (digest, _), count in self.deals.stock.items() if digest == model]


ONE = Keep(DIGEST, ("1x4",), at_least=2, up_to=5)


def request(shape: str) -> str:
    return request_of(shape, "embedding", masked=False, new_tokens=0)


def test_it_fills_to_the_upper_mark_and_begins_again_below_the_lower_one(
    settings: PartiesSettings, tmp_path: Path
) -> None:
    kept = Kept(settings, tmp_path, ONE)
    place = DIGEST, request("1x4")
    kept.filler.fill()
    assert kept.deals.stock == {place: 5}
    for left, after in ((4, 4), (2, 2), (1, 5)):
        kept.deals.stock[place] = left
        kept.filler.fill()
        assert kept.deals.stock == {place: after}


def test_it_stops_between_deals_while_somebody_asks_and_goes_on_from_there(
    settings: PartiesSettings, tmp_path: Path
) -> None:
    kept = Kept(settings, tmp_path, ONE)

    def a_session_comes() -> None:
        kept.idle = len(kept.deals.dealt) < 1

    kept.deals.at_layer = a_session_comes
    kept.filler.fill()
    assert kept.counts() == [2]  # the deal that was under way is finished
    kept.filler.fill()
    assert kept.counts() == [2]
    kept.idle, kept.deals.at_layer = True, lambda: None
    kept.filler.fill()
    assert kept.counts() == [5]


def test_a_shape_that_fails_keeps_no_other_one_from_being_dealt(settings: PartiesSettings, tmp_path: Path) -> None:
    kept = Kept(settings, tmp_path, replace(ONE, model=OTHER), replace(ONE, shapes=("1x4", "2x4")))
    kept.deals.fails[OTHER] = ModelNotLoaded("nobody has loaded it")
    kept.filler.fill()
    assert kept.counts() == [5, 5]
    kept.deals.stock.clear()
    kept.deals.fails[OTHER] = StockFull("no room")
    with pytest.raises(StockFull):
        kept.filler.fill()
    assert kept.counts() == [5, 5]


def test_a_deal_is_given_up_when_the_dealer_is_stopped(settings: PartiesSettings, tmp_path: Path) -> None:
    kept, begun, stopped = Kept(settings, tmp_path, ONE), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert stopped.wait(60)

    kept.deals.at_layer = wait
    kept.filler.start()
    assert begun.wait(60)
    kept.filler.give_up()
    stopped.set()
    kept.filler.join()
    assert kept.deals.dealt == []
    with pytest.raises(SessionError, match="the filler is stopped"):
        kept.filler._check()


def test_with_nothing_to_keep_it_does_nothing(settings: PartiesSettings, tmp_path: Path) -> None:
    kept = Kept(settings, tmp_path)
    kept.filler.start()
    kept.filler.give_up()
    kept.filler.join()
    assert kept.deals.dealt == []


@pytest.mark.parametrize(
    ("keep", "what"),
    [
        (replace(ONE, shapes=("16",)), "is no shape"),
        (replace(ONE, model="minilm"), "is no digest"),
        (replace(ONE, output="next_token", new_tokens=20), "takes the next larger of 16, 64, 256"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_the_start(
    settings: PartiesSettings, tmp_path: Path, keep: Keep, what: str
) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Kept(settings, tmp_path, keep)


def test_a_dealer_fills_the_stocks_of_both_and_fills_up_what_was_used(
    settings: PartiesSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "PAUSE_SECONDS", 0.05)
    save_decoder(tmp_path, "gpt2", n_layer=1)
    checkpoint = read_checkpoint(tmp_path)
    manifest, inputs = write_split(checkpoint, tmp_path / "models" / "small"), {"input_ids": words(1, 5)}
    keep = Keep("small", ("1x5",), at_least=2, up_to=2, new_tokens=1, output="next_logits")
    stock = StockSettings(tmp_path / "stock", "file", fallback=False, keep=(keep,))
    settings = replace(settings, stock=stock, models_dir=tmp_path / "models")
    servers = {role: PartyServer(settings, role, ModelEngine()) for role in PARTIES}
    for server in servers.values():
        server.start()

    def there() -> list[list[dict[str, object]]]:
        return [Operator(settings, role).stock("names") for role in ("p0", "p1")]

    try:
        with Client(settings) as client:
            client.load_model(manifest)
            eventually(lambda: [len(names) for names in there()] == [2, 2])
            before = there()
            assert before[0] == before[1]
            request = network(manifest).request("next_logits", inputs)
            payloads = input_payloads(network(manifest), request, inputs, checkpoint.embeddings)
            answer = client.predict(manifest.digest, manifest.policy.digest(), request, payloads)
            assert {"name": answer.costs.reports["p0"].deal} in before[0]
            eventually(lambda: [len(names) for names in there()] == [2, 2])
            assert all(Operator(settings, role).stock("troubles") == [] for role in PARTIES)
    finally:
        for server in servers.values():
            server.stop()
