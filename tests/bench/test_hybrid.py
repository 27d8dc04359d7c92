"""`python -m bench hybrid` on few numbers, and the table of its records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tenseal")

from bench import report, results
from bench.hybrid import command
from tests.bench.records import hybrid_record


def test_a_record_has_both_phases_of_both_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "_RELUS", 64)
    command.hybrid("relu", turns=2)
    record = json.loads((tmp_path / "hybrid-relu-client.json").read_text())
    assert (record["kind"], record["what"], record["relus"], record["turns"]) == ("hybrid", "relu", 64, 2)
    for phase in ("made", "used"):
        assert len(record[phase]["seconds"]) == 2 and min(record[phase]["median_seconds"]) > 0
    # 106 gates of 32 bytes and six of colours for each, and what keys take.
    assert record["made"]["sent_bytes"][0] > 64 * (106 * 32 + 6)
    assert record["used"]["sent_bytes"] == [64 * (6 + 31 * 16), 64 * 31 // 8]
    assert record["kept_bytes"][0] == 32 < record["kept_bytes"][1]


def test_the_table() -> None:
    text = report.measured([hybrid_record()])
    assert "## A client and a model's owner alone" in text
    assert "| ReLU of 4,096 numbers | client | 0.125, 0.250 | 3.50, 1.25 | 0.00, 4.38 | 0.062, 0.375 |" in text
