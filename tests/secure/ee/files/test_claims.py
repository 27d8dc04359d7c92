"""What the red team broke is refused, with its figure; where it has nothing, nothing is claimed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import secure.ee.files.claims
from secure.ee.client.model import EncryptedModel
from secure.ee.files import claims
from secure.ee.files.manifest import TIERS
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.equivariant.key import Key

SHIPPED = Path(secure.ee.files.claims.__file__).with_name("red_team.json")
BROKEN = {"status": "broken", "figure": "A3 reads 99.8 % of tokens (chance 5.1 %)", "tokens_limit": 0}
LIMITED = {"status": "limited", "figure": "A6 reads 40 % after 100,000 tokens", "tokens_limit": 10_000}
HELD = {"status": "held", "figure": "A8 reads 6 % (chance 5 %)", "tokens_limit": None}


def write(path: Path, **tiers: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1, "verdicts": tiers, "noise_level": 0.01, "date": "today"}))


@pytest.fixture
def results(no_red_team: Path) -> Path:
    write(no_red_team, T0={"full": HELD}, T1={"full": LIMITED, "permutation": HELD}, T2={"full": BROKEN})
    return no_red_team


def test_a_broken_tier_is_refused_with_its_figure_and_what_stands(results: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"broken at T2.*99\.8 %.*with this configuration T1 stands"):
        claims.require("T2", "full")


def test_a_limit_of_no_tokens_is_broken(results: Path) -> None:
    write(results, T0={"full": LIMITED | {"tokens_limit": 0}})
    with pytest.raises(ConfigurationError, match=r"A6 reads.*nothing stands here"):
        claims.require("T0", "full")


def test_limits_and_figures_are_told(results: Path) -> None:
    assert claims.require("T1", "full").notice.startswith("At most 10,000 tokens under one key and epoch")
    assert claims.require("T0", "full").notice == "The strongest attack: A8 reads 6 % (chance 5 %)."


def test_without_results_nothing_is_claimed(no_red_team: Path) -> None:
    assert "Nothing is claimed" in claims.require("T1", "full").notice
    with pytest.raises(ConfigurationError, match="hides essentially nothing"):
        claims.require("T2", "full")


def test_a_cell_without_a_result_is_unknown(results: Path) -> None:
    assert claims.find("T0", "split").status == "unknown"


def test_an_unknown_tier_is_refused(results: Path) -> None:
    with pytest.raises(ConfigurationError, match="T0, T1, T2"):
        claims.find("T3", "full")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", '{"format": 2, "verdicts": {}}', "[]"])
def test_damaged_results_are_an_error(no_red_team: Path, text: str) -> None:
    no_red_team.write_text(text)
    with pytest.raises(ConfigurationError, match=r"red_team\.json"):
        claims.find("T1", "full")


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ({"full": False, "noise": 1.0, "fine_tuned": True, "split": True}, "permutation"),
        ({"full": True, "noise": 0.0, "fine_tuned": True, "split": True}, "split"),
        ({"full": True, "noise": 0.0, "fine_tuned": True, "split": False}, "finetuned"),
        ({"full": True, "noise": 0.01, "fine_tuned": False, "split": False}, "noise"),
        ({"full": True, "noise": 0.009, "fine_tuned": False, "split": False}, "full"),
        ({"full": True, "noise": 0.0, "fine_tuned": False, "split": False}, "full"),
    ],
)
def test_each_configuration_has_its_row(results: Path, options: dict[str, Any], row: str) -> None:
    assert claims.configuration_name(**options) == row


def test_encrypting_and_opening_ask_the_red_team(results: Path, base: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="broken at T2"):
        encrypt_checkpoint(base, key, tmp_path / "out", assume="T2")
    assert not (tmp_path / "out").exists()
    manifest = encrypt_checkpoint(base, key, tmp_path / "out")
    assert EncryptedModel.from_pretrained(tmp_path / "out", key=key).claim.notice.startswith("At most 10,000 tokens")
    assert (manifest.tier, manifest.claim, manifest.tokens_limit) == ("T1", LIMITED["figure"], 10_000)
    with pytest.raises(ConfigurationError, match="broken at T2"):
        EncryptedModel.from_pretrained(tmp_path / "out", key=key, assume="T2")
    # A later release may have broken what held when the folder was made.
    write(results, T1={"full": BROKEN})
    with pytest.raises(ConfigurationError, match="broken at T1"):
        EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    write(results, T0={"full": BROKEN}, T1={"full": BROKEN})
    assert EncryptedModel.from_pretrained(tmp_path / "out", key=key, assume="none").manifest == manifest
    assert encrypt_checkpoint(base, key, tmp_path / "none").tier == "none"


def test_the_strongest_tier_that_stands(results: Path, no_red_team: Path) -> None:
    assert claims.strongest("full") == "T1"
    write(results, T0={"full": HELD}, T1={"full": BROKEN, "split": HELD}, T2={"full": BROKEN})
    assert claims.strongest("full") == "T0"
    assert claims.strongest("noise") == "T0"
    with pytest.raises(ConfigurationError, match=r"at T1 stands configuration 'split'; with this configuration T0"):
        claims.require("T1", "full")
    write(results, T0={"full": BROKEN})
    assert claims.strongest("full") == "none"
    assert claims.require("none", "full").notice.startswith(
        "Nothing is claimed. A mere observer's strongest attack: A3"
    )
    no_red_team.unlink()
    assert claims.strongest("full") == "T0"


@pytest.mark.skipif(not SHIPPED.is_file(), reason="the red team has not run yet")
def test_the_shipped_results_have_every_cell() -> None:
    names = ("permutation", "full", "noise", "finetuned", "split")
    assert "unknown" not in [claims.find(tier, name, SHIPPED).status for tier in TIERS for name in names]
