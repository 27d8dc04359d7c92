"""Three evaluators and a dealer as processes over mutual TLS, one of which deviates at the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure import loaded_model
from secure.connection import Parties
from secure.models.contract.exchange import input_payloads
from secure.parties.client.client import Client
from secure.parties.launcher import Launcher, free_addresses, launch
from secure.parties.settings_file import settings_toml
from secure.protocols.witnessed.witness import ROUND_BYTES
from tests.secure.conftest import VOCABULARY, plain_embeddings, plain_outputs
from tests.secure.processes.party_that_deviates import deviating

HIDDEN_ERROR = 5e-3
ROLES = ("p0", "p1", "p2", "dealer")
SENTENCES = ["the cat sat", "rain", "a dog is warm ."]

pytestmark = pytest.mark.processes
# Four processes take a minute of processor time to start. The default run has the same roles over gRPC and mutual TLS,
# as servers of one process, in `tests/secure/test_reload.py`.


@pytest.fixture(scope="module")
def started() -> Iterator[Launcher]:
    """Parties of which any can be told to deviate: they live as long as this file's tests take."""
    launcher = launch(protocol="witnessed", module="tests.secure.processes.party_that_deviates")
    yield launcher
    launcher.stop()


@pytest.fixture(scope="module")
def parties(started: Launcher) -> Iterator[Parties]:
    with Parties(Client(started.settings), protocol="witnessed") as found:
        yield found


@pytest.fixture
def model(checkpoint: Path, parties: Parties) -> Iterator[secure.PrivateModel]:
    with secure.PrivateModel.from_pretrained(checkpoint, parties=parties) as found:
        yield found


@pytest.mark.slow
def test_a_private_model_is_computed_by_four_processes(
    model: secure.PrivateModel, checkpoint: Path, reference: Any, parties: Parties
) -> None:
    ids = torch.randint(0, len(VOCABULARY), (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    ours, theirs = model(input_ids=ids, attention_mask=mask), plain_outputs(reference, ids, mask)
    assert float((ours.last_hidden_state - theirs.last_hidden_state)[mask.bool()].abs().max()) < HIDDEN_ERROR
    report = model.report
    # Seeds: p0 sends a common one to both others; the dealer sends each its two.
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes - 2 * 16 > 0
    assert sum(row.dealer_bytes for row in report.rows) == report.dealer_bytes - 6 * 16 > 0
    (digests,) = (row for row in report.rows if row.op == "compare")
    assert digests.online_bytes == 3 * ROUND_BYTES * report.rounds
    assert report.security == "malicious" and report.deal == "live" and set(report.roles) == set(ROLES)
    assert secure.Report.from_json(report.to_json()) == report
    with pytest.raises(secure.errors.CheckpointError, match="weights='server' is for the protocol 'beaver'"):
        secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="server")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "message", "byte"),
    [
        pytest.param("p0", 0, 40, id="p0-first"),
        pytest.param("p1", 9, -1, id="p1-later"),
        pytest.param("p2", 5, 3, id="p2-digest"),
    ],
)
def test_an_evaluator_that_deviates_at_the_wire_is_found(
    role: str, message: int, byte: int, started: Launcher, model: secure.PrivateModel, reference: Any
) -> None:
    with (
        deviating(started.config, role, message, byte),
        pytest.raises(secure.errors.PartyDeviates) as caught,
    ):
        model.encode(SENTENCES)
    error = caught.value
    assert ("round " in str(error) and "gate " in str(error)) or message == 0
    assert role in error.suspects and len(error.suspects) == 2
    due = plain_embeddings(reference, model.tokenizer, SENTENCES)
    assert float((model.encode(SENTENCES) - due).abs().max()) < HIDDEN_ERROR, "the next session is served"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "change"),
    [
        ("p0", "truncated"),
        ("p1", "replayed"),
        ("p2", "extended"),
        ("p0", "random"),
        ("p1", "another digest"),
        ("p2", "halves swapped"),
    ],
)
def test_other_changes_at_the_wire_are_found(
    role: str, change: str, started: Launcher, model: secure.PrivateModel
) -> None:
    with (
        deviating(started.config, role, 6, change=change),
        pytest.raises(secure.errors.PartyDeviates, match="round ") as caught,
    ):
        model.encode(SENTENCES)
    assert role in caught.value.suspects


@pytest.mark.slow
def test_a_client_whose_parts_differ_gets_nothing(model: secure.PrivateModel) -> None:
    """The last bit that p2 is given is not what p0 is given as a seed of the same part."""

    def changed(*given: Any) -> tuple[bytes, ...]:
        *others, last = input_payloads(*given)
        return (*others, last[:-1] + bytes([last[-1] ^ 1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded_model, "input_payloads", changed)
        with pytest.raises(secure.errors.PartyDeviates):
            model.encode(SENTENCES)


@pytest.mark.slow
def test_no_role_is_talked_down(started: Launcher, checkpoint: Path, tmp_path: Path) -> None:
    """A client whose settings name another protocol, at the same addresses, with the same authority's certificate."""
    for protocol, roles in (("beaver", ("p0", "p1", "dealer")), ("replicated", ("p0", "p1", "p2"))):
        settings = started.settings
        addresses = {role: settings.parties[role].address for role in roles}
        (tmp_path / f"{protocol}.toml").write_text(settings_toml(addresses, settings.tls_dir, protocol=protocol))
        with secure.connect(tmp_path / f"{protocol}.toml") as weaker, pytest.raises(secure.errors.HandshakeError) as e:
            secure.PrivateModel.from_pretrained(checkpoint, parties=weaker)
        assert "protocol differs" in str(e.value) and "witnessed" in str(e.value)


def test_security_stands_for_the_protocol(tmp_path: Path) -> None:
    addresses = free_addresses(ROLES)
    text = settings_toml(addresses, tmp_path, protocol="witnessed")
    (tmp_path / "parties.toml").write_text(text.replace('protocol = "witnessed"', 'security = "malicious"'))
    with pytest.raises(secure.errors.ConfigurationError, match="is for the protocol 'witnessed', 'beaver' is asked"):
        secure.launch(tmp_path / "parties.toml", security="semi-honest")
    with pytest.raises(secure.errors.ConfigurationError, match="'replicated' has security 'semi-honest'"):
        secure.launch(protocol="replicated", security="malicious")
    with pytest.raises(secure.errors.ConfigurationError, match="known are semi-honest, malicious"):
        secure.launch(security="total")
