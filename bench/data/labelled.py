"""Labelled data that packages bring: scikit-learn's digits, Debian's Fashion-MNIST and its descriptions of packages."""

from __future__ import annotations

import hashlib
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.fashion_mnist import FOLDERS, load
from secure.protocols.core.errors import ConfigurationError
from secure.verifier.inputs import Inputs

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


def fashion_mnist(folders: Sequence[Path] = FOLDERS) -> Labelled:
    """55,000 pictures of 28 × 28 points, in 10 classes: what the data set has for training. Raises as its reader does.

    Service, verifier and the verifier's test take parts of these that do not mix, drawn anew for every seed.
    """
    part = load(folders).train
    digest = _digest(part.images.numpy().tobytes())
    return Labelled(part.images, part.labels, "Fashion-MNIST, Debian's dataset-fashion-mnist", digest)


def package_descriptions(*, named: bool = False) -> Labelled:
    """Short descriptions of Debian's packages, in 10 of its sections, 1,400 of each at most, no description twice.

    named: each begins with the package's name, as `apt-cache search` prints it, which often tells the section. They are
    those that apt knows on this machine. Raises ConfigurationError where there are none.
    """
    try:
        listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise ConfigurationError("there is no apt here to list Debian's packages") from None
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for package in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in package.splitlines() if ": " in line and line[0] != " ")
        text = fields.get("Description", fields.get("Description-en", ""))
        if len(text.split()) >= _LEAST_WORDS:
            found[fields.get("Section", "")].setdefault(text, fields.get("Package", ""))
    kept = {
        section: sorted(found[section])[:: max(1, len(found[section]) // _OF_EACH)][:_OF_EACH] for section in SECTIONS
    }
    # A text of two sections has no one class.
    times: dict[str, int] = defaultdict(int)
    for texts in kept.values():
        for text in texts:
            times[text] += 1
    pairs = [
        (f"{found[section][text]} - {text}" if named else text, number)
        for number, (section, texts) in enumerate(kept.items())
        for text in texts
        if times[text] == 1
    ]
    if len(pairs) < 5000:
        raise ConfigurationError(f"apt knows {len(pairs)} descriptions in these sections: say `apt-get update` first")
    texts = [text for text, _ in pairs]
    digest = _digest("\n".join(texts).encode())
    what = "names and descriptions" if named else "descriptions"
    return Labelled(
        texts, torch.tensor([number for _, number in pairs]), f"{what} of Debian's packages by section", digest
    )


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()
