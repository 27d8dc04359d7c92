"""What a party's process holds after it has served a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import secure
from secure.connection import Parties
from secure.parties import launcher
from secure.parties.client.client import Client
from secure.parties.config import PARTIES
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def test_a_party_serves_without_transformers(checkpoint: Path, tmp_path: Path) -> None:
    """Whoever only computes needs neither tokenizers nor models in the clear, and runs none of their code."""
    make_certificates(tmp_path / "certs")
    config = tmp_path / "parties.toml"
    config.write_text(settings_toml(launcher.free_addresses(), tmp_path / "certs"))
    with (
        launcher.launch(config, module="tests.secure.processes.party_that_lists_modules") as started,
        Parties(Client(started.settings)) as parties,
    ):
        model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties, weights="public")
        assert model.encode(["the cat"]).shape == (1, 24)
    for role in PARTIES:
        found = set(json.loads((tmp_path / f"{role}.modules").read_text()))
        assert "secure.models.program" in found
        assert not {"transformers", "tokenizers", "huggingface_hub", "typer", "starlette"} & found
