"""Predictions from stock on real processes: the dealer's is stopped, the answers are those of a live one."""

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
from secure.protocols.core.errors import NoCorrelations
from tests.parties.local import eventually
from tests.secure.processes.stocked import end_process, secure_command, stocked

ERROR = 2e-3
IDS = torch.tensor([[2, 7, 9, 3]])

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stock")]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Three processes that keep a stock under a key in memory, and have no dealer to fall back to."""
    with stocked(tmp_path_factory.mktemp("stock"), "beaver", "fallback = false\n") as started:
        yield started


@pytest.mark.slow  # in one process: parties/session/test_from_stock.py
def test_predictions_without_the_dealers_process(launcher: Launcher, checkpoint: Path, reference: BertModel) -> None:
    config = str(launcher.config)
    with torch.inference_mode():
        due = reference(input_ids=IDS).last_hidden_state
    with Parties(Client(launcher.settings)) as parties:
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        with pytest.raises(NoCorrelations, match="there are none of any shape"):
            model(input_ids=IDS)
        digest = model.manifest.digest
        said = secure_command(
            "deal", digest, "--config", config, "--shape", "1x4", "--output", "hidden", "--count", "4"
        )
        assert said.startswith("4 deals in ")
        end_process(launcher, "dealer")
        answers = [_answer(model) for _ in range(2)]
        for answer in answers:
            assert float((answer - due).abs().max()) < ERROR
        report = model.report
        assert (report.deal, report.dealer_bytes) == ("stock", 0)
        assert report.roles["p1"].bytes_received.keys() == {"p0", "client"}
        assert "dealer: absent" in report.to_text()
        shown = json.loads(secure_command("store", "--config", config, "--role", "p1", "--json"))
        assert {row["state"]: row["count"] for row in shown["deals"]} == {"stock": 2, "spent": 2}
        assert shown["troubles"] == []
        assert secure_command("store", "verify", "--config", config, "--role", "p1") == "every tape in stock is whole\n"
        # The key was in p1's memory alone: a kill burns what is left, at p1 at once and at p0 when they meet again.
        end_process(launcher, "p1")
        launcher._close_pipe("dealer")
        launcher._start("dealer", launcher.config)
        launcher.restart("p1")
        eventually(lambda: _in_stock(config, "p0") == _in_stock(config, "p1") == 0)
        tapes = list((launcher.config.parent / "kept" / "p1").glob("*.tape"))
        assert tapes == []


def _answer(model: secure.PrivateModel) -> Tensor:
    return model(input_ids=IDS).last_hidden_state


def _in_stock(config: str, role: str) -> int:
    shown = json.loads(secure_command("store", "--config", config, "--role", role, "--json"))
    return sum(row["count"] for row in shown["deals"] if row["state"] == "stock")
