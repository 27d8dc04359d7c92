"""Small files of a data set's format."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor


def write_idx(path: Path, numbers: Tensor) -> None:
    header = bytes([0, 0, 8, numbers.dim()]) + struct.pack(f">{numbers.dim()}I", *numbers.shape)
    path.write_bytes(gzip.compress(header + numbers.to(torch.uint8).numpy().tobytes(), mtime=0))


@pytest.fixture
def fashion_folder(tmp_path: Path) -> Path:
    """Twelve images and five, in files like those of Fashion-MNIST, with labels 0, 1, 2 and so on."""
    generator = torch.Generator().manual_seed(0)
    for name, count in (("train", 12), ("t10k", 5)):
        images = torch.randint(0, 256, (count, 28, 28), generator=generator)
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", torch.arange(count) % 10)
    return tmp_path
