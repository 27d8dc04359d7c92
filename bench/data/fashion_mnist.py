"""Fashion-MNIST, from Debian's package dataset-fashion-mnist (Zalando; MIT licence), which need not be installed.

60,000 and 10,000 grey images of 28 x 28 pixels of ten kinds of clothes, in the IDX format of MNIST. The last 5,000 of
the first are set apart for validation; what is published as a test is used for tests alone.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secure.protocols.core.errors import ConfigurationError

LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SIZE = 28
MEAN, DEVIATION = 0.2860, 0.3530
"""The training images' own, of pixels between 0 and 1; `load` computes neither, so that every caller has the same."""
VALIDATION = 5000
_IN_PACKAGE = Path("usr/share/datasets/fashion-mnist")
_UNPACKED = Path(__file__).parents[1] / "out" / "fashion-mnist"
FOLDERS = (Path("/") / _IN_PACKAGE, _UNPACKED / _IN_PACKAGE)
"""Where Debian installs it, and where the command of the error unpacks it."""
_UNSIGNED_BYTES = 0x08
_HOW = (
    "apt-get download dataset-fashion-mnist && "
    f"dpkg-deb -x dataset-fashion-mnist_*.deb {_UNPACKED.relative_to(_UNPACKED.parents[2])}"
)


@dataclass(frozen=True)
class Part:
    """Images, float32 [N, 1, 28, 28] of mean zero and deviation one, and their labels, int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class FashionMnist:
    """55,000, 5,000 and 10,000 images."""

    train: Part
    validation: Part
    test: Part


def load(folders: Sequence[Path] = FOLDERS) -> FashionMnist:
    """The data set, from the first of the folders that is there.

    Raises ConfigurationError where none is, with the commands that fetch it, and for files that are not in its format.
    """
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise ConfigurationError(f"Fashion-MNIST is not here; from the project's folder, as any user: {_HOW}")
    whole, test = _part(folder, "train"), _part(folder, "t10k")
    kept = len(whole) - VALIDATION
    return FashionMnist(
        Part(whole.images[:kept], whole.labels[:kept]), Part(whole.images[kept:], whole.labels[kept:]), test
    )


def _part(folder: Path, name: str) -> Part:
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz").unsqueeze(1)
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
    if tuple(images.shape[1:]) != (1, SIZE, SIZE) or len(images) != len(labels):
        raise ConfigurationError(f"{folder}: images of {tuple(images.shape)} and {len(labels)} labels are not its own")
    return Part((images.to(torch.float32) / 255 - MEAN) / DEVIATION, labels.to(torch.int64))


def read_idx(path: Path) -> Tensor:
    """The tensor of a compressed IDX file of bytes: two zeros, a type, the axes, each length in 32 bits, the numbers.

    Shapes: -> uint8, as the file says. Raises ConfigurationError for a file that is not such.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from None
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes([0, 0, _UNSIGNED_BYTES]) or len(content) < start:
        raise ConfigurationError(f"{path} is no IDX file of bytes")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise ConfigurationError(f"{path} has {len(content) - start} numbers where its beginning says {shape}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """A batch for training: each image mirrored or not, all of them shifted by up to two pixels. Shapes: unchanged.

    What a shift pushes out on one side comes back on the other, where these images are black.
    """
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images).roll((down, right), (-2, -1))
