"""Three evaluators from stock on real processes: the dealer's is stopped, answers are as live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertModel

import secure
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.launcher import Launcher
from secure.protocols.witnessed.family import WITNESSED
from tests.parties.local import eventually
from tests.secure.processes.stocked import end_process, secure_command, stocked

ERROR = 5e-3
IDS = torch.tensor([[2, 7, 9, 3]])

pytestmark = [pytest.mark.processes, pytest.mark.slow]
# The default run has the same roles over gRPC and mutual TLS, as servers of one process, in
# `tests/secure/test_witnessed_stock.py` and `tests/parties/session/test_witnessed_stock.py`.


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Four processes that keep a stock under a key in memory, and ask the dealer where there is nothing."""
    with stocked(tmp_path_factory.mktemp("stock"), "witnessed") as started:
        yield started


def test_predictions_without_the_dealers_process(launcher: Launcher, checkpoint: Path, reference: BertModel) -> None:
    config = str(launcher.config)
    with torch.inference_mode():
        due = reference(input_ids=IDS).last_hidden_state
    with Parties(Client(launcher.settings), protocol="witnessed") as parties:
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        live = _answer(model)
        assert model.report.deal == "live" and float((live - due).abs().max()) < ERROR
        rounds, sent = model.report.rounds, model.report.online_bytes
        digest = model.manifest.digest
        said = secure_command(
            "deal", digest, "--config", config, "--shape", "1x4", "--output", "hidden", "--count", "3"
        )
        assert said.startswith("3 deals in ") and said.endswith("each at P1 and P2\n")
        end_process(launcher, "dealer")
        for _ in range(2):
            assert float((_answer(model) - due).abs().max()) < ERROR
        report = model.report
        assert (report.deal, report.security, report.dealer_bytes) == ("stock", "malicious", 0)
        assert (report.rounds, report.online_bytes) == (rounds, sent)
        assert set(report.roles) == set(WITNESSED.computing)
        assert report.receipt is not None
        for role in WITNESSED.computing:
            shown = json.loads(secure_command("store", "--config", config, "--role", role, "--json"))
            assert {row["state"]: row["count"] for row in shown["deals"]} == {"stock": 1, "spent": 2}
            assert shown["troubles"] == []
        assert secure_command("store", "verify", "--config", config, "--role", "p2") == "every tape in stock is whole\n"
        # The key was in p2's memory alone: a kill burns what is left there, and at both others when all meet again.
        end_process(launcher, "p2")
        launcher._close_pipe("dealer")
        launcher._start("dealer", launcher.config)
        launcher.restart("p2")
        eventually(lambda: not any(_in_stock(config, role) for role in WITNESSED.computing))
        for role in ("p1", "p2"):
            assert list((launcher.config.parent / "kept" / role).glob("*.tape")) == []


def _answer(model: secure.PrivateModel) -> Tensor:
    return model(input_ids=IDS).last_hidden_state


def _in_stock(config: str, role: str) -> int:
    shown = json.loads(secure_command("store", "--config", config, "--role", role, "--json"))
    return sum(row["count"] for row in shown["deals"] if row["state"] == "stock")
