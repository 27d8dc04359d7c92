"""The measurement of audits: other models, rare tokens, texts, a small run, its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench import results
from bench.audit import command
from bench.audit.substitutes import SUBSTITUTES, another_row
from bench.audit.table import found
from secure.audit.canaries import prepare
from secure.audit.models import ClearModel
from secure.audit.report import AuditReport
from tests.bench.records import audit_record
from tests.secure.conftest import checkpoint  # noqa: F401 (a fixture)

RECORDS = [record for record in results.load_all() if record["kind"] == "audit"]
WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "sun", "is", "warm", "rain", "cold"]
TEXTS = [f"{first} {second} {third} ." for first in WORDS for second in WORDS for third in WORDS[:2]]


def test_every_other_model_is_another_one(checkpoint: Path) -> None:  # noqa: F811
    clear = ClearModel(checkpoint)
    before = [parameter.clone() for parameter in clear.model.parameters()]
    for name, change in SUBSTITUTES.items():
        other = list(change(clear.model).parameters())
        same = len(other) == len(before) and all(map(torch.equal, other, before))
        assert not same, name
    assert all(map(torch.equal, clear.model.parameters(), before)), "the model itself is left alone"
    rows = another_row(5)(clear.model).get_input_embeddings().weight
    changed = (rows != clear.model.get_input_embeddings().weight).any(-1)
    assert changed.nonzero().flatten().tolist() == [5]


def test_false_alarms_are_counted_and_drawn_as_wide_as_measured() -> None:
    assert command.counted([0.1, 0.3, float("inf"), 0.2], 0.25) == {
        "honest": 4,
        "false_alarms": 2,
        "largest": float("inf"),
        "median": 0.25,
    }
    drawn = command.as_wide([1e-6, 2e-6, 4e-6], 2000)
    assert 1.8e-6 < command.counted(drawn, 1.0)["median"] < 2.2e-6 and 8e-6 < max(drawn) < 1e-4


def test_what_other_models_answer(checkpoint: Path) -> None:  # noqa: F811
    clear = ClearModel(checkpoint)
    made = prepare("embedding", TEXTS[:40], clear, clear, noise_texts=8)
    rows = {row["name"]: row for row in command.judged(clear, made)}
    assert rows["weights of 4 bits, a scale for each row"]["found"] == rows["the last layer left out"]["found"] == 1
    assert rows["matrices moved by 10⁻⁷ of their spread"]["found"] < 1
    (rare,) = (row for name, row in rows.items() if name.startswith("one token's embedding"))
    assert rare["found"] < 1 and rare["least"] < made.threshold


@pytest.mark.parametrize("kind", ["embedding", "next_token"])
def test_texts_are_different_and_the_same_each_time(kind: command.Kind) -> None:
    texts = command.given_texts(kind, 200)
    assert len(set(texts)) == 200 and texts == command.given_texts(kind, 200) and min(map(len, texts)) > 8


def test_the_table_has_the_figures() -> None:
    text = found([audit_record()])
    for figure in (
        "24, 6.5e-07",
        "6.5e-06",
        "0 of 500, largest 8.2e-07",
        "0 of 10,000",
        "four bits",
        "100%",
        "2.5e-01",
    ):
        assert figure in text
    assert found([]) == ""


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["model"])
def test_what_is_committed_finds_other_models_and_raises_no_false_alarm(record: results.Any) -> None:
    assert record["computed"]["false_alarms"] == record["drawn"]["false_alarms"] == 0
    assert record["drawn"]["honest"] >= 10_000
    shares = {row["name"]: row["found"] for row in record["rows"]}
    assert shares["weights of 4 bits, a scale for each row"] == shares["the last layer left out"] == 1
    assert shares["matrices moved by 10⁻⁷ of their spread"] < 1, "and what it does not find is there, too"
    assert AuditReport(record["canaries"], 0, 0.0, record["threshold"], record["noise_texts"]).seen_share < 0.05
