"""Three evaluators and two dealers as processes over mutual TLS, one of which lies at the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import secure
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.launcher import Launcher, launch
from secure.protocols.witnessed.family import TWO_DEALERS
from tests.secure.conftest import plain_embeddings
from tests.secure.processes.party_that_deviates import deviating

HIDDEN_ERROR = 5e-3
SENTENCES = ["the cat sat", "rain", "a dog is warm ."]

pytestmark = [pytest.mark.processes, pytest.mark.slow]
# The default run has the same roles as servers of one process, in `tests/secure/test_two_dealers.py`.


@pytest.fixture(scope="module")
def started() -> Iterator[Launcher]:
    launcher = launch(protocol=TWO_DEALERS.name, module="tests.secure.processes.party_that_deviates")
    yield launcher
    launcher.stop()


@pytest.fixture(scope="module")
def parties(started: Launcher) -> Iterator[Parties]:
    with Parties(Client(started.settings), protocol=TWO_DEALERS.name) as found:
        yield found


@pytest.fixture
def model(checkpoint: Path, parties: Parties) -> Iterator[secure.PrivateModel]:
    with secure.PrivateModel.from_pretrained(checkpoint, parties=parties) as found:
        yield found


@pytest.mark.parametrize(
    ("role", "message", "byte"),
    [
        pytest.param("dealer", 0, 40, id="first-dealer"),
        pytest.param("dealer2", 0, 3, id="second-dealer"),
    ],
)
def test_a_dealer_that_lies_at_the_wire_is_found(
    role: str, message: int, byte: int, started: Launcher, model: secure.PrivateModel, reference: Any
) -> None:
    with (
        deviating(started.config, role, message, byte),
        pytest.raises(secure.errors.PartyDeviates, match=f"message {message} of what is dealt") as caught,
    ):
        model.encode(SENTENCES)
    assert caught.value.suspects == TWO_DEALERS.dealers
    due = plain_embeddings(reference, model.tokenizer, SENTENCES)
    assert float((model.encode(SENTENCES) - due).abs().max()) < HIDDEN_ERROR, "the next session is served"
    assert set(model.report.roles) == set(TWO_DEALERS.roles)
