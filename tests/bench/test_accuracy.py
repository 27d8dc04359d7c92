"""A text classifier on shares beside the clear: its parts, one small run, its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from bench.accuracy import classifier, command
from bench.accuracy.classifier import TOKENS, Task, tokens, trained
from bench.accuracy.table import right
from bench.data.labelled import Labelled
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError
from tests.bench.records import accuracy_record
from tests.bench.test_report import rows

TEXTS = Labelled([f"package{number} - of kind {number % 3}" for number in range(300)], torch.arange(300) % 3, "", "0")


def test_texts_to_train_with_are_none_of_those_to_test_with() -> None:
    task = Task.of(TEXTS, 200, 60, seed=1)
    assert len(task.train) == 200 and len(task.test) == 60 and not set(task.train) & set(task.test)
    for text, label in zip((*task.train, *task.test), (*task.train_labels, *task.test_labels), strict=True):
        assert text.endswith(f"{label}")
    assert Task.of(TEXTS, 200, 60, seed=2).test != task.test == Task.of(TEXTS, 200, 60, seed=1).test
    with pytest.raises(ValueError, match="300 texts, 301 are asked for"):
        Task.of(TEXTS, 200, 101, seed=1)


def test_long_texts_are_cut_and_short_ones_padded() -> None:
    found = tokens(AutoTokenizer.from_pretrained(model_folder()), ["one", "two " * 100])
    assert found["input_ids"].shape == (2, TOKENS) and found["attention_mask"].sum(-1).tolist() == [3, TOKENS]


def test_right_answers_and_differences_are_counted() -> None:
    due = torch.tensor([[1.0, 0.0], [0.5, 0.25], [0.0, 0.125]])
    found = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.25, 0.125]])
    assert command.beside(found, due, torch.tensor([0, 1, 1])) == {
        "right": 1,
        "agree": 2,
        "largest_difference": 0.25,
        "mean_difference": pytest.approx(0.5 / 6),
        "narrowest_margin": 0.25,
    }


def test_too_many_texts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "package_descriptions", lambda **_: TEXTS)
    with pytest.raises(ConfigurationError, match="300 texts, 6500 are asked for: say fewer --examples or --train"):
        command.accuracy(500, 6000, 1, None, 0, False)


@pytest.mark.slow
def test_a_small_run_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "CACHE", tmp_path)
    task = Task.of(TEXTS, 200, 30, seed=1)
    folder = trained(task, 1, 0, lambda _: None)
    assert trained(task, 1, 0, lambda _: pytest.fail("trained again")) == folder
    due = command._in_the_clear(folder, task)
    row = command._compared("beaver", folder, task, due)
    assert abs(row["right"] - command._right(due, task.test_labels)) <= 1 and row["agree"] >= 29
    assert 0 < row["largest_difference"] < 0.01


def test_the_table_has_both_counts() -> None:
    table = rows(right([accuracy_record()]))
    assert [row[1] for row in table] == ["beaver", "replicated"]
    assert table[0][2:5] == ["410 (82.0%)", "409 (81.8%)", "499 of 500"]
    assert right([]) == ""
