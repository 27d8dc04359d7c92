"""Labelled data that packages bring: scikit-learn's digits, Debian's Fashion-MNIST and its descriptions of packages."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.errors import ConfigurationError
from secure.verifier.inputs import Inputs

FOLDER = Path(__file__).parent.parent / "out" / "fashion-mnist"
"""Where the package is unpacked; git ignores it."""
_INSIDE = Path("usr/share/datasets/fashion-mnist")
_HOW = (
    "in an empty folder say `apt-get download dataset-fashion-mnist` and "
    f"`dpkg-deb -x dataset-fashion-mnist_*.deb {FOLDER.parent.parent.name}/{FOLDER.parent.name}/{FOLDER.name}`, "
    "with that folder of this checkout"
)
SECTIONS = ("python", "perl", "golang", "javascript", "java", "ruby", "net", "science", "utils", "admin")
_OF_EACH = 1400
_LEAST_WORDS = 3


@dataclass(frozen=True)
class Labelled:
    """Inputs with their classes. `source` says which data they are, `digest` is a SHA-256 of them."""

    inputs: Inputs
    labels: Tensor
    source: str
    digest: str


def digits() -> Labelled:
    """1,797 digits of 8 × 8 points, in 10 classes. Raises ConfigurationError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ConfigurationError("the digits are scikit-learn's: pip install '.[bench]'") from None
    points, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(points / 16, dtype=torch.float32)
    return Labelled(inputs, torch.tensor(labels), "scikit-learn's digits", _digest(points.astype(np.uint8).tobytes()))


def fashion_mnist(folder: Path = FOLDER) -> Labelled:
    """70,000 pictures of 28 × 28 points, in 10 classes. Raises ConfigurationError where the files are missing."""
    parts = [
        (_idx(folder, f"{part}-images-idx3-ubyte"), _idx(folder, f"{part}-labels-idx1-ubyte"))
        for part in ("train", "t10k")
    ]
    images, labels = (torch.cat(kept) for kept in zip(*parts, strict=True))
    digest = _digest(images.numpy().tobytes())
    return Labelled(
        images[:, None].float() / 255, labels.long(), "Fashion-MNIST, Debian's dataset-fashion-mnist", digest
    )


def package_descriptions() -> Labelled:
    """Short descriptions of Debian's packages, in 10 of its sections, 1,400 of each at most.

    They are those that apt knows on this machine. Raises ConfigurationError where there are none.
    """
    try:
        listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise ConfigurationError("there is no apt here to list Debian's packages") from None
    found: dict[str, set[str]] = defaultdict(set)
    for package in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in package.splitlines() if ": " in line and line[0] != " ")
        text = fields.get("Description", fields.get("Description-en", ""))
        if len(text.split()) >= _LEAST_WORDS:
            found[fields.get("Section", "")].add(text)
    kept = {
        section: sorted(found[section])[:: max(1, len(found[section]) // _OF_EACH)][:_OF_EACH] for section in SECTIONS
    }
    # A text of two sections has no one class.
    times: dict[str, int] = defaultdict(int)
    for texts in kept.values():
        for text in texts:
            times[text] += 1
    pairs = [(text, number) for number, texts in enumerate(kept.values()) for text in texts if times[text] == 1]
    if len(pairs) < 5000:
        raise ConfigurationError(f"apt knows {len(pairs)} descriptions in these sections: say `apt-get update` first")
    texts = [text for text, _ in pairs]
    digest = _digest("\n".join(texts).encode())
    return Labelled(
        texts, torch.tensor([number for _, number in pairs]), "descriptions of Debian's packages by section", digest
    )


def _idx(folder: Path, name: str) -> Tensor:
    """One file in MNIST's format: a head of magic number and sizes, big-endian, then bytes."""
    for path in (folder / _INSIDE / f"{name}.gz", folder / f"{name}.gz"):
        if path.is_file():
            content = gzip.decompress(path.read_bytes())
            sizes = np.frombuffer(content, ">u4", content[3], 4)
            return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).copy()).reshape(
                *map(int, sizes)
            )
    raise ConfigurationError(f"{name}.gz of Fashion-MNIST is missing: {_HOW}")


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
