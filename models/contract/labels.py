"""Names of a classifier's labels. They stay with the client: the parties learn how many there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secure.protocols.core.errors import CheckpointError

LABELS_NAME = "labels.json"
_LABELS_WITHOUT_FIELDS = 2  # what transformers takes a classifier to have when config.json does not say


def parse_labels(config: Mapping[str, Any]) -> dict[int, str]:
    """id2label of config.json, or the names that transformers gives where there are none.

    Raises CheckpointError naming the field that is wrong.
    """
    stored, count = config.get("id2label"), config.get("num_labels")
    if count is not None and (type(count) is not int or count < 1):
        raise CheckpointError(f"config.json: num_labels is {count!r}; it must be a positive whole number")
    if stored is None:
        return {i: f"LABEL_{i}" for i in range(count or _LABELS_WITHOUT_FIELDS)}
    labels = _checked(stored, "config.json: id2label")
    if count not in (None, len(labels)):
        raise CheckpointError(f"config.json: num_labels is {count}, id2label has {len(labels)}")
    return labels


def write_labels(folder: Path, labels: Mapping[int, str]) -> None:
    """Write the labels, which are for the client, into a split checkpoint's folder. Raises OSError."""
    text = json.dumps({str(number): label for number, label in labels.items()}, ensure_ascii=False, indent=1)
    (folder / LABELS_NAME).write_text(text + "\n", encoding="utf-8")


def read_labels(folder: Path, count: int) -> dict[int, str]:
    """The labels of a split checkpoint that has `count`. Raises CheckpointError when they are missing or others."""
    if not count:
        return {}
    path = folder / LABELS_NAME
    try:
        labels = _checked(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}, which names the labels, cannot be read: {error}") from None
    if len(labels) != count:
        raise CheckpointError(f"{path} has {len(labels)} labels, the manifest {count}")
    return labels


def _checked(stored: object, what: str) -> dict[int, str]:
    """Labels by number, from 0 on without a gap."""
    # Whole numbers are labels of data sets that give their classes no names.
    if isinstance(stored, dict) and stored and all(type(label) in (str, int) for label in stored.values()):
        labels = {str(number): str(label) for number, label in stored.items()}
        if set(labels) == {str(i) for i in range(len(labels))}:
            return {i: labels[str(i)] for i in range(len(labels))}
    raise CheckpointError(f"{what} must give every number from 0 on a label: a string or a whole number")
