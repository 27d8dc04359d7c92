"""Three computing processes with replicated shares over mutual TLS, started by the launcher."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure.connection import Parties
from secure.models.checkpoint.conversion import split_checkpoint
from secure.parties.launcher import free_addresses, launch
from secure.parties.settings_file import settings_toml
from secure.split import share_files
from secure.tokens import load_tokenizer
from tests.secure.conftest import VOCABULARY, plain_embeddings, plain_outputs
from tests.secure.running import Running

HIDDEN_ERROR = 5e-3
ROLES = ("p0", "p1", "p2")

pytestmark = pytest.mark.processes


@pytest.mark.xdist_group("parties")
def test_private_model_on_three_computing_processes(
    checkpoint: Path, reference: Any, tmp_path: Path, replicated: Running
) -> None:
    parties = replicated.parties
    model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, protocol="replicated")
    ids = torch.randint(0, len(VOCABULARY), (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    ours, theirs = model(input_ids=ids, attention_mask=mask), plain_outputs(reference, ids, mask)
    assert float((ours.last_hidden_state - theirs.last_hidden_state)[mask.bool()].abs().max()) < HIDDEN_ERROR
    check_report(model.report)
    sentences = ["the cat sat", "rain", "a dog is warm ."]
    expected = plain_embeddings(reference, load_tokenizer(checkpoint), sentences)
    assert float((model.encode(sentences, batch_size=2) - expected).abs().max()) < HIDDEN_ERROR
    public = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="public")
    assert float((public.encode(sentences) - expected).abs().max()) < HIDDEN_ERROR
    with pytest.raises(secure.errors.ConfigurationError, match="these parties compute by the protocol 'replicated'"):
        secure.PrivateModel.from_pretrained(checkpoint, parties=parties, protocol="beaver")
    split_checkpoint(checkpoint, tmp_path / "two")
    with pytest.raises(secure.errors.CheckpointError, match=r"was split for the protocol 'beaver'"):
        secure.PrivateModel.from_pretrained(tmp_path / "two", parties=parties)


def check_report(report: secure.Report) -> None:
    """What the meters attribute to ops is what the transport counted, but for seeds: one of each party, and a common
    one that P0 sends to both others."""
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes - 5 * 16 > 0
    assert report.dealer_bytes == 0 and "no dealer" in str(report)
    assert set(report.roles) == set(ROLES) == set(report.computing)
    sent = [sum(report.roles[role].bytes_sent.get(peer, 0) for peer in ROLES) for role in ROLES]
    # Turns go with matrices, four a layer: in two layers two roles deal for one function by pieces each, and the third
    # for none. With the six layers of MiniLM the most is 1.02 times the least.
    assert max(sent) < 2 * min(sent), "the parties take turns"
    assert secure.Report.from_json(report.to_json()) == report


@pytest.mark.slow
@pytest.mark.parametrize("victim", ROLES)
def test_a_killed_party_is_named(checkpoint: Path, victim: str) -> None:
    started = launch(protocol="replicated")
    with Parties(secure.connection.Client(started.settings), started.stop, protocol="replicated") as parties:
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
        os.kill(started.process_ids[victim], signal.SIGKILL)
        with pytest.raises(secure.errors.SessionError, match=victim):
            model.encode(["the cat sat"])


@pytest.mark.xdist_group("parties")
def test_parties_of_another_protocol_refuse(checkpoint: Path, tmp_path: Path, replicated: Running) -> None:
    """A client whose settings name the other protocol, at the same addresses, with the same authority's certificate."""
    settings = replicated.settings
    addresses = {role: settings.parties[role].address for role in ("p0", "p1")} | free_addresses(["dealer"])
    (tmp_path / "beaver.toml").write_text(settings_toml(addresses, settings.tls_dir))
    with secure.connect(tmp_path / "beaver.toml") as parties, pytest.raises(secure.errors.SessionError) as caught:
        secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
    # The dealer is not there at all; p0 and p1 are, and say why they refuse.
    assert "dealer" in str(caught.value) or "protocol differs" in str(caught.value)


def test_share_files_of_three(checkpoint: Path, tmp_path: Path) -> None:
    split_checkpoint(checkpoint, tmp_path / "three", protocol="replicated")
    files = share_files(tmp_path / "three", "replicated")
    assert files is not None and set(files) == set(ROLES)
    files["p1"].unlink()
    with pytest.raises(secure.errors.CheckpointError, match="has the share of p0 and p2 alone; a client needs all"):
        share_files(tmp_path / "three", "replicated")
