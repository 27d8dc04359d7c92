"""The teacher and the data of the record of MPCViT, on images of nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.data import fashion_mnist
from bench.data.fashion_mnist import FashionMnist, Part
from bench.mpcvit import command
from bench.mpcvit.teacher import config_of
from secure.protocols.core.errors import ConfigurationError
from secure.search.teacher import read_teacher


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> FashionMnist:
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Part:
        return Part(torch.randn(count, 1, 28, 28, generator=generator), torch.arange(count) % 10)

    found = FashionMnist(part(40), part(10), part(20))
    monkeypatch.setattr(fashion_mnist, "load", lambda: found)
    return found


def test_the_data_is_what_a_search_reads(images: FashionMnist, tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["data", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "train.npz") as file:
        assert np.array_equal(file["inputs"], images.train.images.numpy())
        assert np.array_equal(file["labels"], images.train.labels.numpy())


def test_a_teacher_is_a_checkpoint_that_a_search_takes(images: FashionMnist, tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["teacher", "--out", str(tmp_path), "--epochs", "1"])
    assert done.exit_code == 0, done.output
    teacher = read_teacher(tmp_path / "teacher-17-0")
    assert (teacher.config.layers, teacher.config.heads, teacher.config.images.patches) == (4, 4, 16)


def test_other_numbers_of_tokens_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="30 tokens; an image of 28 pixels has 17 or 50"):
        config_of(30)
