"""From rows to claims: thresholds, what counts for which tier, the file that the API reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from bench.attack import verdict
from bench.attack.guess import Guess, interval, score
from bench.attack.view import TIERS, Configuration, Truth


def row(
    attack: str, tier: str, low: float, *, configuration: str = "full", tokens: int = 0, chance: float = 0.05
) -> dict[str, Any]:
    return {
        "attack": attack,
        "name": "an attack",
        "tier": tier,
        "configuration": configuration,
        "tokens": tokens,
        "recovery": low + 0.01,
        "interval": (low, low + 0.02),
        "chance": chance,
        "seconds": 1.0,
    }


def rows() -> list[dict[str, Any]]:
    """Every configuration has something at T1; traffic attacks are on ids and on split mode alone."""
    found = [row("A1", "T1", 0.01, configuration=name) for name in get_args(Configuration)]
    for name in ("full", "split"):
        found += [
            row("A7", "T0", low, configuration=name, tokens=n) for n, low in ((100, 0.1), (300, 0.4), (1000, 0.9))
        ]
    return found


def test_a_tier_falls_with_the_first_attack_above_the_threshold() -> None:
    found = verdict.verdicts([*rows(), row("A5", "T2", 0.151)])
    assert found["T2"]["full"]["status"] == "broken"
    assert found["T2"]["full"]["attack"] == "A5"
    assert "without any traffic" in found["T2"]["full"]["figure"]


def test_at_the_threshold_it_does_not() -> None:
    found = verdict.verdicts([*rows(), row("A5", "T2", 0.15)])
    assert found["T2"]["full"]["status"] == "limited"


def test_traffic_limits_every_tier_and_configuration() -> None:
    found = verdict.verdicts(rows())
    for tier in TIERS:
        for configuration in get_args(Configuration):
            cell = found[tier][configuration]
            assert (cell["status"], cell["tokens_limit"], cell["tokens"]) == ("limited", 100, 300)


def test_a_lower_tiers_attack_counts_above_it_and_not_below() -> None:
    found = verdict.verdicts([*rows(), row("A11", "T1", 0.8, configuration="noise")])
    assert [found[tier]["noise"]["status"] for tier in TIERS] == ["limited", "broken", "broken"]


def test_nothing_above_the_threshold_is_held() -> None:
    quiet = [row("A6", "T0", 0.02, configuration=name, tokens=500) for name in ("full", "split")]
    cell = verdict.verdicts(quiet)["T0"]["permutation"]
    assert (cell["status"], cell["tokens_limit"]) == ("held", 500)


def test_the_file_is_what_the_api_reads(tmp_path: Path) -> None:
    file = tmp_path / "red_team.json"
    verdict.write(rows(), 0.1, "a model", [{"command": "c", "commit": "d", "date": "e", "loss": {}}], file)
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["format"] == verdict.FORMAT
    assert content["noise_level"] == 0.1
    assert content["runs"] == [{"command": "c", "commit": "d", "date": "e"}]
    assert {(tier, name) for tier, cells in content["verdicts"].items() for name in cells} == {
        (tier, name) for tier in TIERS for name in get_args(Configuration)
    }


def test_template_tokens_do_not_count() -> None:
    truth = Truth(plain_of=None, sessions=[[1, 2, 9, 1, 8]])  # type: ignore[arg-type]
    found = score(Guess(readings={0: [1, 2, 9, 1, 7]}), truth, [], [1, 2], range(1))
    assert (found.right, found.counted) == ([1], [2])
    assert found.running == pytest.approx(2 / 3)


def test_intervals_hold_the_share_and_do_not_close_at_the_ends() -> None:
    low, high = interval([5, 6, 4, 5] * 10, [10] * 40)
    assert 0.4 < low < 0.5 < high < 0.6
    assert interval([10] * 30, [10] * 30) == (pytest.approx(0.9), 1.0)
    assert interval([0] * 30, [10] * 30) == (0.0, pytest.approx(0.1))
