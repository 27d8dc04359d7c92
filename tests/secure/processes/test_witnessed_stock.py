"""Three evaluators from stock on real processes: the dealer's is stopped, answers are as live."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertModel
from typer.testing import CliRunner

import secure
from secure.cli.main import app
from secure.cli.options import GlobalOptions
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.config import CALLERS
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.witnessed.family import WITNESSED
from tests.parties.local import eventually

ERROR = 5e-3
IDS = torch.tensor([[2, 7, 9, 3]])

pytestmark = [pytest.mark.processes, pytest.mark.slow]
# The default run has the same roles over gRPC and mutual TLS, as servers of one process, in
# `tests/secure/test_witnessed_stock.py` and `tests/parties/session/test_witnessed_stock.py`.


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Four processes that keep a stock under a key in memory, and ask the dealer where there is nothing."""
    folder = tmp_path_factory.mktemp("stock")
    make_certificates(folder / "certificates", roles=(*WITNESSED.roles, *CALLERS))
    text = settings_toml(free_addresses(WITNESSED.roles), folder / "certificates", protocol="witnessed")
    (folder / "parties.toml").write_text(f"{text}\n[stock]\ndir = 'kept'\n", encoding="utf-8")
    started = Launcher(folder / "parties.toml", stop_when_one_ends=False)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def secure_command(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), obj=GlobalOptions())
    assert done.exit_code == 0, done.output
    return done.stdout


def end_process(launcher: Launcher, role: str) -> None:
    process = launcher._processes[role]
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)


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
