"""Three real processes over mutual TLS, started by the launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure.cli.checks import examine
from secure.parties.launcher import free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import PartyUnreachable
from secure.tokens import load_tokenizer
from tests.checkout import ROOT
from tests.secure.conftest import VOCABULARY, plain_embeddings, plain_outputs
from tests.secure.running import Running, processes_with

HIDDEN_ERROR = 5e-3

pytestmark = pytest.mark.processes


@pytest.mark.xdist_group("parties")
def test_private_model_on_three_processes(checkpoint: Path, reference: Any, beaver: Running) -> None:
    parties = beaver.parties
    model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="private")
    ids = torch.randint(0, len(VOCABULARY), (2, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    ours, theirs = model(input_ids=ids, attention_mask=mask), plain_outputs(reference, ids, mask)
    assert float((ours.last_hidden_state - theirs.last_hidden_state)[mask.bool()].abs().max()) < HIDDEN_ERROR
    assert float((ours.pooler_output - theirs.pooler_output).abs().max()) < HIDDEN_ERROR
    check_report(model.report)
    sentences = ["the cat sat", "rain", "a dog is warm ."]
    embeddings = model.encode(sentences, batch_size=2)
    expected = plain_embeddings(reference, load_tokenizer(checkpoint), sentences)
    assert float((embeddings - expected).abs().max()) < HIDDEN_ERROR
    assert model.report.sessions == 2
    public = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="public")
    assert float((public.encode(sentences) - expected).abs().max()) < HIDDEN_ERROR
    held = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="server")
    assert float((held.encode(sentences) - expected).abs().max()) < HIDDEN_ERROR
    assert sum(row.online_bytes for row in held.report.rows) == held.report.online_bytes - 16 > 0
    model.unload()


def check_report(report: secure.Report) -> None:
    """What the meters attribute to ops is what the transport counted, but for seeds: P1's, and two of the dealer's."""
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes - 16 > 0
    assert sum(row.dealer_bytes for row in report.rows) == report.dealer_bytes - 2 * 16 > 0
    assert report.roles["p0"].messages_sent["p1"] == report.rounds
    assert not any(report.roles["dealer"].bytes_received.values())
    assert secure.Report.from_json(report.to_json()) == report


@pytest.mark.slow
def test_launch_command_serves_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from secure.cli.main import main; main()"
    command = [sys.executable, "-P", "-c", program, "launch"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "200"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stderr is not None
        try:
            lines = []
            for line in started.stderr:
                lines.append(line)
                if "All three serve" in line:
                    break
            match = re.search(r"--config (\S+);", lines[-1])
            assert match is not None, lines
            config = Path(match[1])
            with secure.connect(config) as parties:
                model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
                assert model.encode(["the cat"]).shape == (1, 24)
            assert [finding for finding in examine(config) if finding.verdict == "fail"] == []
            assert len(processes_with(str(config))) == 3
        finally:
            started.send_signal(signal.SIGINT)
            rest = started.stderr.read()
        assert started.wait(60) == 0, rest
    assert "Traceback" not in rest
    assert processes_with(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(secure.errors.ConfigurationError):
        secure.connect(config)


def test_parties_that_are_not_there_are_named(checkpoint: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "certs")
    text = settings_toml(free_addresses(), tmp_path / "certs") + "[limits]\nrendezvous_seconds = 0.5\n"
    (tmp_path / "parties.toml").write_text(text)
    with (
        secure.connect(tmp_path / "parties.toml") as parties,
        pytest.raises(PartyUnreachable, match=r"p0 at 127\.0\.0\.1:\d+ did not answer within 0\.5 s"),
    ):
        secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
