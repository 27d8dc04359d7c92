"""A client's or an owner's process is killed while something is made or used: nothing is used twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secure
from bench.kills import party
from bench.kills.campaign import Outcome, sent_by
from bench.kills.parties import COMPARED, SERVES, KeptParties
from bench.kills.supervisor import KILLED
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.protocols.core.errors import SecureInferenceError
from tests.models.graph.modules import settled

pytest.importorskip("tenseal")

ERROR = 2e-3
CASES = [
    ("p0", "before taking in"),
    ("p1", "after making"),
    ("p1", "after stocking"),
    ("p0", "before stocking"),
    ("p0", "after spending"),
    ("p1", "after spending by name"),
    ("p0", "after sending"),
    ("p1", "after sending"),
]
"""In this order: before each, something is in both stocks."""

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def parties(folder: Path) -> Iterator[KeptParties]:
    with KeptParties(folder, "hybrid") as found:
        found.start()
        yield found


def test_nothing_is_used_twice(parties: KeptParties, folder: Path) -> None:
    torch.manual_seed(1)
    module, x = settled(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))), torch.randn(2, 3)
    with torch.no_grad():
        due = module(x)
    with Parties(Client(parties.settings), protocol="hybrid") as connected:
        model = secure.PrivateModel.from_module(module, x, parties=connected, weights="server")
        lost = 0
        for role, point in CASES:
            model.precompute(2 - len(both(parties)))
            before = both(parties)
            killed, serves, compared = (parties.times(*of) for of in ((role, KILLED), (role, SERVES), ("p0", COMPARED)))
            marker = folder / f"{role}.kill"
            marker.write_text(point, encoding="utf-8")
            with suppress(SecureInferenceError):
                if any(point.endswith(name) for name in party.FILLING):
                    model.precompute()
                else:
                    check(model(x), due)
            assert not marker.exists(), f"{role} did not come to the point {point!r}"
            parties.wait_until(role, KILLED, killed + 1)
            parties.wait_until(role, SERVES, serves + 1)
            parties.wait_until("p0", COMPARED, compared + 1)
            left = both(parties)
            assert len(before - left) <= 1 and len(left - before) <= 1
            lost += len(before - left)
        assert 0 < lost <= len(CASES)
        check(model(x), due)
        assert model.report.deal == "stock"
    found = Outcome()
    found.compare(*(sent_by(folder, role) for role in ("p0", "p1")))
    assert found.sent > 1 and (found.used_twice, found.unpaired) == (0, 0)


def check(answer: Tensor, due: Tensor) -> None:
    assert float((answer - due).abs().max()) < ERROR


def both(parties: KeptParties) -> set[str]:
    """Names that are in both stocks."""
    first, second = ({row["name"] for row in Operator(parties.settings, role).stock("names")} for role in ("p0", "p1"))
    return first & second
