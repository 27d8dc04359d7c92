"""The measurement of audits: other models, rare tokens, texts, a small run, its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench import results
from bench.audit import command
from bench.audit.substitutes import SUBSTITUTES, another_row
from bench.audit.table import found
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


@pytest.mark.slow
def test_a_small_run_of_an_encrypted_encoder(
    checkpoint: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes what `secure.audit` does at its size; the default run has that in `tests/secure/ee/test_audit.py`."""
    monkeypatch.setattr(command, "given_texts", lambda kind, count: TEXTS[:count])
    record = command.encrypted(ClearModel(checkpoint), checkpoint, 20, 100)
    assert record["honest"] == 100 and record["false_alarms"] == 0 and record["noise_texts"] == command.NOISE
    shares = {row["name"]: row["found"] for row in record["rows"]}
    assert shares["weights of 4 bits, a scale for each row"] == shares["the last layer left out"] == 1
    assert found([audit_record() | record])


@pytest.mark.parametrize("kind", ["embedding", "next_token"])
def test_texts_are_different_and_the_same_each_time(kind: command.Kind) -> None:
    texts = command.given_texts(kind, 200)
    assert len(set(texts)) == 200 and texts == command.given_texts(kind, 200) and min(map(len, texts)) > 8


def test_the_table_has_the_figures() -> None:
    text = found([audit_record()])
    for figure in ("24, 6.5e-07", "6.5e-06", "0 of 10,000, computed", "8.3e-07", "four bits", "100%", "2.5e-01"):
        assert figure in text
    assert found([]) == ""


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["model"])
def test_what_is_committed_finds_other_models_and_raises_no_false_alarm(record: results.Any) -> None:
    assert record["false_alarms"] == 0 and record["honest"] >= 10_000
    shares = {row["name"]: row["found"] for row in record["rows"]}
    assert shares["weights of 4 bits, a scale for each row"] == shares["the last layer left out"] == 1
    assert shares["matrices moved by 10⁻⁷ of their spread"] < 1, "and what it does not find is there, too"
    assert AuditReport(record["canaries"], 0, 0.0, record["threshold"], record["noise_texts"]).seen_share < 0.05
