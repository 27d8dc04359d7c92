"""A client's or an owner's process is killed while something is made or used: nothing is used twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import secure
from bench.kills.parties import KeptParties
from secure.connection import Parties
from secure.parties.client.client import Client
from tests.models.graph.modules import settled
from tests.secure.processes.killing import check_none_used_twice, kill_at_each

pytest.importorskip("tenseal")

ERROR = 2e-3
HOLDERS = ("p0", "p1")
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

        def use() -> None:
            assert float((model(x) - due).abs().max()) < ERROR

        kill_at_each(parties, folder, CASES, holders=HOLDERS, fill=model.precompute, use=use)
        assert model.report.deal == "stock"
    check_none_used_twice(folder, HOLDERS)
