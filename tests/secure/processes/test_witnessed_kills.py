"""An evaluator is killed while a deal comes or is used: no deal is used twice, and at most one is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.kills.parties import KeptParties
from secure.connection import Parties
from secure.module import PrivateModule
from secure.parties.client.client import Client
from secure.parties.client.operator import Operator
from tests.secure.processes.killing import check_none_used_twice, kill_at_each

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

        def use() -> None:
            assert float((model(x) - due).abs().max()) < ERROR

        kill_at_each(
            parties,
            folder,
            CASES,
            holders=EVALUATORS,
            fill=lambda count: dealer.deal(model.manifest.digest, request, count),
            use=use,
        )
        assert model.report.deal == "stock"
    check_none_used_twice(folder, EVALUATORS)
