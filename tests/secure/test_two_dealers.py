"""Three evaluators and two dealers over gRPC and mutual TLS, as servers of this process, one of which lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secure.connection import Parties
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, Limits, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.model_engine import ModelEngine
from secure.parties.roles.dealer import Seeds
from secure.parties.roles.engine import SessionTools
from secure.parties.roles.steps import RunSteps
from secure.parties.roles.two_dealers import FirstOfTwoDealers, SecondOfTwoDealers
from secure.parties.session.session import Session
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.channel import Channel
from secure.protocols.core.errors import (
    ConfigurationError,
    HandshakeError,
    PartyDeviates,
    ProtocolError,
    ReceiptRefused,
)
from secure.protocols.witnessed.family import TWO_DEALERS, WITNESSED
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.parties.local import LocalParties
from tests.protocols.witnessed.lies import Lie, flip

X = torch.linspace(-2, 2, 12).reshape(4, 3)
Model = PrivateModule


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalParties]:
    folder = tmp_path_factory.mktemp("five") / "tls"
    make_certificates(folder, roles=(*TWO_DEALERS.roles, *CALLERS))
    parties = {role: PartySettings(address, address) for role, address in free_addresses(TWO_DEALERS.roles).items()}
    limits = Limits(rendezvous_seconds=60.0)
    settings = PartiesSettings(parties, folder, protocol=TWO_DEALERS.name, limits=limits)
    started = LocalParties(settings, engine=ModelEngine())
    yield started
    started.stop_all()


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(3)
    return Small().eval()


@pytest.fixture(scope="module")
def model(servers: LocalParties, module: nn.Module) -> Iterator[Model]:
    with Parties(Client(servers.settings), protocol=TWO_DEALERS.name) as parties:
        yield PrivateModule.from_module(module, X, parties=parties)


def right(model: Model, module: nn.Module) -> bool:
    with torch.no_grad():
        return float((model(X) - module(X)).abs().max()) < 1e-2


def test_five_roles_give_the_result_and_a_receipt_that_names_them(model: Model, module: nn.Module) -> None:
    assert right(model, module)
    report = model.report
    assert set(report.roles) == set(TWO_DEALERS.roles) and report.computing == TWO_DEALERS.computing
    assert (report.security, report.deal, report.protocol) == ("malicious", "live", TWO_DEALERS.name)
    # Seeds to each of three, two of 16 bytes, and a digest of them.
    assert sum(row.dealer_bytes for row in report.rows) == report.dealer_bytes - 3 * (2 * 16 + DIGEST_BYTES)
    digests = report.roles["dealer2"].bytes_sent
    assert digests["p0"] == DIGEST_BYTES < digests["p1"] == digests["p2"]
    assert digests["p1"] * 10 < report.roles["dealer"].bytes_sent["p1"], "digests take little beside words"
    assert report.roles["dealer"].bytes_sent["dealer2"] == 3 * 16
    assert "of the second dealer" in report.to_text() and "s for the second dealer" in report.to_text()
    assert report.receipt is not None
    (session,) = report.receipt.sessions
    assert set(session.signed) == set(TWO_DEALERS.roles) and session.shared("protocol") == TWO_DEALERS.name


def test_no_dealer_is_left_out_of_a_receipt(model: Model) -> None:
    """Evaluators that sign a deal from stock, which this protocol does not have, do not get rid of the dealers."""
    model(X)
    assert model.report.receipt is not None
    (session,) = model.report.receipt.sessions
    claimed = {
        role: replace(signed, statement={**signed.statement, "deal": "00" * 16})
        for role, signed in session.signed.items()
        if role not in TWO_DEALERS.dealers
    }
    with pytest.raises(ReceiptRefused, match="dealer is missing: the protocol 'witnessed-two-dealers' has"):
        replace(session, signed=claimed)._signers()


def test_a_digest_that_is_none_ends_the_session(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second dealer that sends much where a digest is due: nobody takes it in."""
    join, large = SecondOfTwoDealers.join, Lie(lambda message, before: [bytes(1 << 20)], holders=("p1",))

    def lies(self: SecondOfTwoDealers, session: Session, deal: Any = None) -> SessionTools:
        tools: Any = join(self, session, deal)
        return replace(tools, to_p1=large.wrap(tools.to_p1))

    with monkeypatch.context() as patch, pytest.raises(ProtocolError, match="1048576 bytes; at most 32 are allowed"):
        patch.setattr(SecondOfTwoDealers, "join", lies)
        model(X)


def other_seed(seeds: Seeds) -> Seeds:
    """One evaluator gets another seed of a part than the other holder, and than the second dealer."""
    first, second = seeds["p2"]
    return {**seeds, "p2": (os.urandom(len(first)), second)}


def seeds_of_evaluators_alone(seeds: Seeds) -> Seeds:
    """Evaluators agree among themselves, so that only the second dealer can tell that words are of other seeds."""
    others = [os.urandom(16) for _ in range(3)]
    changed = {role: (others[i], others[(i + 1) % 3]) for i, role in enumerate(TWO_DEALERS.computing)}
    return {**seeds, **changed}


@pytest.mark.parametrize("lie", [other_seed, seeds_of_evaluators_alone])
def test_a_first_dealer_that_lies_about_seeds_is_found(
    lie: Callable[[Seeds], Seeds], model: Model, module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = FirstOfTwoDealers.draw
    with monkeypatch.context() as patch, pytest.raises(PartyDeviates, match="one of dealer and dealer2") as caught:
        patch.setattr(FirstOfTwoDealers, "draw", lambda self: lie(draw(self)))
        model(X)
    assert caught.value.suspects == TWO_DEALERS.dealers
    assert right(model, module), "the next session is served"


def test_a_first_dealer_that_tells_both_holders_the_same_wrong_word_is_found(
    model: Model, module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, lie = FirstOfTwoDealers.begin, Lie(flip(77))

    def lies(self: FirstOfTwoDealers, name: bytes, seeds: Seeds, ways: Mapping[str, Channel], on_layer: Any) -> Any:
        tools: Any = begin(self, name, seeds, ways, on_layer)
        return replace(tools, to_p1=lie.wrap(tools.to_p1), to_p2=lie.wrap(tools.to_p2))

    with monkeypatch.context() as patch, pytest.raises(PartyDeviates, match="message 0 of what is dealt") as caught:
        patch.setattr(FirstOfTwoDealers, "begin", lies)
        model(X)
    assert caught.value.suspects == TWO_DEALERS.dealers
    assert right(model, module), "the next session is served"


def test_a_second_dealer_that_lies_ends_the_session(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    join = SecondOfTwoDealers.join

    def lies(self: SecondOfTwoDealers, session: Session, deal: Any = None) -> SessionTools:
        tools: Any = join(self, session, deal)
        return replace(tools, to_p2=Lie(flip(0), holders=("p2",)).wrap(tools.to_p2))

    with monkeypatch.context() as patch, pytest.raises(PartyDeviates, match="p2: message 0 of what is dealt"):
        patch.setattr(SecondOfTwoDealers, "join", lies)
        model(X)


@pytest.mark.parametrize(("who", "byte", "suspects"), [("p0", 0, ("p2", "p0")), ("p1", -1, ("p1", "p2"))])
def test_an_evaluator_that_answers_the_client_otherwise_is_one_of_two_that_are_named(
    who: str, byte: int, suspects: tuple[str, str], model: Model, module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told the other evaluators nothing wrong, so that only the client can notice: every part comes from two."""
    send = RunSteps.send

    def sends(self: RunSteps, payload: bytes) -> None:
        changed = bytearray(payload)
        changed[byte] ^= self._session.role == who
        send(self, bytes(changed))

    with monkeypatch.context() as patch, pytest.raises(PartyDeviates, match="client: the output: they sent") as caught:
        patch.setattr(RunSteps, "send", sends)
        model(X)
    assert caught.value.suspects == suspects and who in suspects
    assert right(model, module), "the next session is served"


@pytest.mark.parametrize("talked_to", ["client", "dealer", "p1"])
def test_nobody_is_talked_down_to_one_dealer(talked_to: str, servers: LocalParties, module: nn.Module) -> None:
    """A client whose own settings have one dealer, and a dealer or an evaluator whose settings have one."""
    settings = servers.settings
    one = replace(settings, protocol=WITNESSED.name, parties={role: settings.parties[role] for role in WITNESSED.roles})
    client = one if talked_to == "client" else settings
    if talked_to != "client":
        servers.stop(talked_to)
        servers.own = {talked_to: one}
        servers.start(talked_to, ModelEngine())
    try:
        with (
            Parties(Client(client), protocol=client.protocol) as parties,
            pytest.raises(HandshakeError, match="protocol differs"),
        ):
            PrivateModule.from_module(module, X, parties=parties)
    finally:
        if talked_to != "client":
            servers.stop(talked_to)
            servers.own = {}
            servers.start(talked_to, ModelEngine())


def test_a_deal_from_stock_is_refused_before_anything_starts(tmp_path: Path) -> None:
    text = settings_toml(free_addresses(TWO_DEALERS.roles), tmp_path, protocol=TWO_DEALERS.name)
    (tmp_path / "parties.toml").write_text(text + '[stock]\ndir = "stock"\n')
    with pytest.raises(ConfigurationError, match="in the protocol 'witnessed-two-dealers' nothing is made ahead"):
        load_settings(tmp_path / "parties.toml")
