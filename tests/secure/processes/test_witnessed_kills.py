"""An evaluator is killed while a deal comes or is used: no deal is used twice, and at most one is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.kills import party
from bench.kills.campaign import Outcome, sent_by
from bench.kills.parties import COMPARED, SERVES, KeptParties
from bench.kills.supervisor import KILLED
from secure.connection import Parties
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from secure.protocols.core.errors import SecureInferenceError

ERROR = 1e-3
EVALUATORS = ("p0", "p1", "p2")
CASES = [
    ("p2", "before taking in"),
    ("p2", "after closing the tape"),
    ("p2", "before stocking"),
    ("p2", "after stocking"),
    ("p0", "before stocking"),
    ("p2", "before spending by name"),
    ("p2", "after spending by name"),
    ("p2", "after opening the tape"),
    ("p2", "after meeting both"),
    ("p2", "before sending"),
    ("p2", "after sending"),
    ("p1", "after spending by name"),
    ("p0", "after spending"),
]
"""In this order: before each, something is in all stocks."""

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def parties(folder: Path) -> Iterator[KeptParties]:
    with KeptParties(folder, "witnessed") as found:
        found.start()
        yield found


def test_nothing_is_used_twice(parties: KeptParties, folder: Path) -> None:
    torch.manual_seed(1)
    module, x = nn.Linear(3, 5).eval(), torch.linspace(-2, 2, 12).reshape(4, 3)
    with torch.no_grad():
        due = module(x)
    dealer = Operator(parties.settings, "dealer")
    with Parties(Client(parties.settings), protocol="witnessed") as connected:
        model = PrivateModule.from_module(module, x, parties=connected, weights="private")
        request = model.network.request(model.network.whole_output, {}).to_json()

        def deal(count: int) -> None:
            if count > 0:
                dealer.deal(model.manifest.digest, request, count)

        lost = 0
        for role, point in CASES:
            deal(2 - len(in_all(parties)))
            before = in_all(parties)
            killed, serves, compared = (parties.times(*of) for of in ((role, KILLED), (role, SERVES), ("p0", COMPARED)))
            marker = folder / f"{role}.kill"
            marker.write_text(point, encoding="utf-8")
            with suppress(SecureInferenceError):
                if any(point.endswith(name) for name in party.FILLING):
                    deal(1)
                else:
                    check(model(x), due)
            assert not marker.exists(), f"{role} did not come to the point {point!r}"
            parties.wait_until(role, KILLED, killed + 1)
            parties.wait_until(role, SERVES, serves + 1)
            parties.wait_until("p0", COMPARED, compared + 1)
            left = in_all(parties)
            assert len(before - left) <= 1 and len(left - before) <= 1
            lost += len(before - left)
        assert 0 < lost <= len(CASES)
        check(model(x), due)
        assert model.report.deal == "stock"
    records = {role: sent_by(folder, role) for role in EVALUATORS}
    for other in ("p1", "p2"):
        found = Outcome()
        found.compare(records["p0"], records[other])
        assert found.sent > 1 and (found.used_twice, found.unpaired) == (0, 0)


def check(answer: Tensor, due: Tensor) -> None:
    assert float((answer - due).abs().max()) < ERROR


def in_all(parties: KeptParties) -> set[str]:
    """Names that are in all three stocks."""
    found = [{row["name"] for row in Operator(parties.settings, role).stock("names")} for role in EVALUATORS]
    return set.intersection(*found)
