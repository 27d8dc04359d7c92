"""A client and a model's owner as processes over mutual TLS, and nobody else."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
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
from secure.protocols.core.errors import ConfigurationError
from tests.models.families.test_bert import HIDDEN_ERROR
from tests.models.graph.modules import settled
from tests.parties.local import eventually
from tests.protocols.hybrid.networks import SmallPictures

pytest.importorskip("tenseal")

ULP = 2.0**-16
MOST_UNITS = 32
"""By how much the result of `SmallPictures` may differ: a unit in each layer, and what weights make of it."""

pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    with secure.launch(protocol="hybrid") as found:
        yield found


def test_a_network_of_images_gives_what_torch_does(parties: Parties) -> None:
    torch.manual_seed(1)
    module, image = settled(SmallPictures()), torch.randn(2, 3, 10, 10)
    model = secure.PrivateModel.from_module(module, image, parties=parties, weights="server")
    for given in (image, torch.randn(2, 3, 10, 10)):
        with torch.no_grad():
            assert (model(given) - module(given)).abs().max() < MOST_UNITS * ULP
    report = model.report
    assert set(report.roles) == {"p0", "p1"} and (report.deal, report.dealer_bytes) == ("demand", 0)
    assert report.offline is not None
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes
    assert min(report.offline.sent_bytes.values()) > 100_000 and report.offline.rounds > 10
    # The client garbles, and keeps a seed, the offset, and its share of six numbers; the owner keeps circuits.
    assert report.offline.kept_bytes["p0"] == 16 + 32 + 6 * 8
    assert report.offline.kept_bytes["p1"] > 1_000_000
    assert 0 < report.offline.in_call_seconds < report.seconds
    assert "made on demand, in this call" in report.to_text()
    assert secure.Report.from_json(report.to_json()) == report
    model.unload()


def test_precomputed_predictions(tmp_path: Path) -> None:
    """What was made ahead is used once, by both; where none is left it is made on demand; a kill burns the rest."""
    make_certificates(tmp_path / "certificates", roles=("p0", "p1", *CALLERS))
    text = settings_toml(free_addresses(("p0", "p1")), tmp_path / "certificates", protocol="hybrid")
    config = tmp_path / "parties.toml"
    config.write_text(f"{text}\n[limits]\nrendezvous_seconds = 60.0\n[stock]\ndir = 'kept'\n", encoding="utf-8")
    torch.manual_seed(1)
    module, image = settled(SmallPictures()), torch.randn(1, 3, 10, 10)
    secure.PrivateModule.split(module, image, tmp_path / "shares", weights="server", protocol="hybrid")
    with torch.no_grad():
        due = module(image)
    with Launcher(config, stop_when_one_ends=False) as launcher:
        launcher.start()
        with Parties(Client(launcher.settings), protocol="hybrid") as parties:
            model = secure.PrivateModule.from_split(tmp_path / "shares", parties=parties)
            said = command("precompute", str(tmp_path / "shares"), "--config", str(config), "--count", "2")
            assert said.startswith("made ahead for 2 predictions in ")
            made = model.precompute()
            assert made.count == 1 and made.kept_bytes > 1_000_000
            reports = []
            for _ in range(4):
                assert (model(image) - due).abs().max() < MOST_UNITS * ULP
                reports.append(model.report)
            assert [report.deal for report in reports] == ["stock"] * 3 + ["demand"]
            first, last = reports[0], reports[-1]
            assert first.offline is not None and last.offline is not None
            assert first.offline.in_call_seconds == 0 < first.offline.seconds
            for report in reports:
                assert sum(row.online_bytes for row in report.rows) == report.online_bytes == first.online_bytes
                assert report.offline is not None
                assert report.offline.sent_bytes == first.offline.sent_bytes
                assert report.offline.kept_bytes == first.offline.kept_bytes
            assert sum(first.offline.kept_bytes.values()) == made.kept_bytes + 2 * 16
            for role in ("p0", "p1"):
                assert counts(config, role) == {"spent": 3}
            model.precompute(2)
            # The key of p1's stock was in its memory: a kill burns what is left, at p0 when they meet again.
            process = launcher._processes["p1"]
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
            launcher.restart("p1")
            for role in ("p0", "p1"):
                eventually(lambda role=role: counts(config, role).get("burnt") == 2)  # type: ignore[misc]
            assert list((tmp_path / "kept" / "p1").glob("*.tape")) == []


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), obj=GlobalOptions())
    assert done.exit_code == 0, done.output
    return done.stdout


def counts(config: Path, role: str) -> dict[str, int]:
    """How many makings a role has in each state."""
    shown = json.loads(command("store", "--config", str(config), "--role", role, "--json"))
    return {row["state"]: row["count"] for row in shown["deals"]}


@pytest.mark.parametrize(
    ("module", "name"),
    [(nn.GELU(), "gelu"), (nn.Softmax(-1), "exp2_negative"), (nn.LayerNorm(4), "multiply|square")],
    ids=["gelu", "softmax", "norm"],
)
def test_what_is_not_served_is_refused_before_anything_is_sent(module: nn.Module, name: str, parties: Parties) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(secure.errors.ConfigurationError, match=name):
        patch.setattr(parties.client, "load_model", never)
        whole = nn.Sequential(nn.Linear(4, 4), module).eval()
        secure.PrivateModel.from_module(whole, torch.randn(2, 4), parties=parties, weights="server")


def test_weights_are_the_owners_alone(parties: Parties) -> None:
    for weights in ("private", "public"):
        with pytest.raises(secure.errors.ConfigurationError, match="takes weights='server'"):
            secure.PrivateModel.from_module(nn.Linear(4, 4).eval(), torch.randn(2, 4), parties=parties, weights=weights)


def test_no_role_is_talked_into_another_protocol(parties: Parties, tmp_path: Path) -> None:
    settings = parties.client.settings  # type: ignore[attr-defined]
    addresses = {role: party.address for role, party in settings.parties.items()}
    addresses |= free_addresses(["dealer"])
    (tmp_path / "parties.toml").write_text(settings_toml(addresses, settings.tls_dir))
    with secure.connect(tmp_path / "parties.toml") as others, pytest.raises(secure.errors.SessionError):
        secure.PrivateModel.from_module(nn.Linear(4, 4).eval(), torch.randn(2, 4), parties=others)


def test_a_transformer_by_a_client_and_an_owner_alone(checkpoint: Path, reference: BertModel, tmp_path: Path) -> None:
    """Two layers of BERT, of which both parties make all correlations themselves: from stock, and on demand."""
    make_certificates(tmp_path / "certificates", roles=("p0", "p1", *CALLERS))
    addresses = free_addresses(("p0", "p1"))
    text = settings_toml(addresses, tmp_path / "certificates", protocol="hybrid", engine="transfer")
    config = tmp_path / "parties.toml"
    config.write_text(f"{text}\n[limits]\nrendezvous_seconds = 60.0\n[stock]\ndir = 'kept'\n", encoding="utf-8")
    ids, mask = torch.tensor([[3, 14, 15, 9, 2, 6]]), torch.ones(1, 6, dtype=torch.int64)
    with torch.no_grad():
        due = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    with secure.launch(config, protocol="hybrid") as parties:
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="server")
        made = model.precompute(1, tokens=6)
        reports = []
        for _ in range(2):
            assert (model(ids, mask).last_hidden_state - due).abs().max() < HIDDEN_ERROR
            reports.append(model.report)
    assert [report.deal for report in reports] == ["stock", "demand"]
    for report in reports:
        assert (report.dealer_bytes, set(report.roles), report.unchecked_one_hot) == (0, {"p0", "p1"}, True)
        assert report.offline is not None and sum(report.offline.kept_bytes.values()) == made.kept_bytes + 2 * 16
        assert sum(row.online_bytes for row in report.rows) == report.online_bytes


def test_an_engine_is_the_files_or_the_calls(tmp_path: Path) -> None:
    (tmp_path / "parties.toml").write_text(
        settings_toml(free_addresses(("p0", "p1")), tmp_path, protocol="hybrid"), encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match="leave the engine out"):
        secure.launch(tmp_path / "parties.toml", engine="transfer")
