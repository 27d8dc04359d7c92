"""The campaign of deviating roles: what it counts, and that it goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results
from bench.trust import campaign, command, table
from tests.protocols.witnessed.test_faults import ROWS


def test_every_gate_is_a_unit() -> None:
    assert len(campaign.units()) == len(ROWS)


def test_a_campaign_counts_and_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(campaign, "units", lambda: {"a": (), "b": ()})
    counted: list[str] = []
    found = {"dealer, random": {"caught": 3}, "evaluator, last bit": {"caught": 1, "unchanged": 2}}

    def count(name: str) -> campaign.Counts:
        counted.append(name)
        return found

    monkeypatch.setattr(campaign, "count", count)
    monkeypatch.setattr(campaign, "heard", lambda sessions: iter([("p0, round 1", 1000, 0.5)]))
    command.trust(minutes=1, honest=2, only="a")
    command.trust(minutes=1, honest=3, only="")
    command.trust(minutes=1, honest=3, only="")
    record = results.load("trust")
    assert counted == ["a", "b"] and record["honest"] == {"right": 3}
    assert record["totals"]["dealer, random"] == {"caught": 6}
    assert record["totals"]["evaluator, last bit"] == {"caught": 2, "unchanged": 4}
    text = table.caught([record])
    assert "Of 3 sessions" in text and "| **all** | **8** | **0** | **4** | **0** |" in text
    assert "0 ended with an alarm" in text and "p-value of uniform bytes is 0.5" in text


@pytest.mark.slow
def test_one_gate_is_counted() -> None:
    (name,) = (each for each in campaign.units() if each.startswith("OpenBoth"))
    found = campaign.totals({name: campaign.count(name)})
    kinds = {kind for kind, outcomes in found.items() if outcomes.keys() - {"caught"}}
    assert found["evaluator, bit 0"].keys() == {"caught"} and found["evaluator, held back"] == {"ended": 3}
    assert kinds <= {"evaluator, last bit", "evaluator, some bit", "evaluator, replayed", "evaluator, held back"}


@pytest.mark.slow
def test_what_is_heard_is_uniform() -> None:
    places = list(campaign.heard(sessions=5))
    assert len(places) >= 3 and all(found > 1e-9 for _, _, found in places)
