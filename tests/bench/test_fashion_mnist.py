"""The loader of Fashion-MNIST, on small files of its format; on the data set itself where that is."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from bench.data import fashion_mnist
from secure.protocols.core.errors import ConfigurationError


def test_the_end_of_what_is_trained_on_is_for_validation(fashion_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "VALIDATION", 4)
    found = fashion_mnist.load([fashion_folder / "missing", fashion_folder])
    assert [len(part) for part in (found.train, found.validation, found.test)] == [8, 4, 5]
    assert found.validation.labels.tolist() == [8, 9, 0, 1]
    assert found.train.images.shape == (8, 1, 28, 28)
    pixel = fashion_mnist.read_idx(fashion_folder / "train-images-idx3-ubyte.gz")[2, 3, 5].item()
    assert found.train.images[2, 0, 3, 5].item() == pytest.approx((pixel / 255 - 0.2860) / 0.3530, abs=1e-6)


def test_who_has_not_got_it_is_told_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"apt-get download dataset-fashion-mnist && dpkg-deb -x .* bench/out"):
        fashion_mnist.load([tmp_path / "missing"])


@pytest.mark.parametrize(
    "content",
    [b"\0\0\x0d\x01\0\0\0\x01a", b"\0\0\x08\x01\0\0\0\x02a", b"\0\0\x08\x03\0\0", b"", b"ab"],
    ids=["floats", "too few numbers", "no header", "empty", "something else"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ConfigurationError, match=r"file\.gz"):
        fashion_mnist.read_idx(path)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"file\.gz (cannot be read|is no IDX file)"):
        fashion_mnist.read_idx(path)


def test_an_augmented_image_is_itself_mirrored_or_shifted() -> None:
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, 10, 12] = 1
    found = fashion_mnist.augmented(images, torch.Generator().manual_seed(1))
    assert found.shape == images.shape and found.sum().item() == 64
    columns = {tuple(place.tolist()) for place in found.nonzero()[:, 2:]}
    assert len(columns) == 2, "mirrored and not mirrored, all shifted alike"


@pytest.mark.slow  # four seconds, for files that others made
def test_the_data_set_itself() -> None:
    if not any(folder.is_dir() for folder in fashion_mnist.FOLDERS):
        pytest.skip("Debian's package is not here")
    found = fashion_mnist.load()
    assert [len(part) for part in (found.train, found.validation, found.test)] == [55_000, 5_000, 10_000]
    assert found.test.labels.bincount().tolist() == [1000] * 10
    assert abs(float(found.train.images.mean())) < 0.01 and abs(float(found.train.images.std()) - 1) < 0.01
