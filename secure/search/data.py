"""What a search and a distillation are given to train with, in whichever form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secure.protocols.core.errors import InputError
from secure.search.examples import Examples, examples_of
from secure.search.pictures import read_classes
from secure.search.teacher import Teacher
from secure.search.texts import LINES, read_texts


def read_data(data: Any, teacher: Teacher) -> Examples:
    """What `examples_of` takes, or the path of a folder of classes, or of a .jsonl file of texts.

    Raises InputError for anything else, and for texts where the teacher classifies images, or the other way round.
    """
    path = Path(data) if isinstance(data, str | Path) else None
    of_texts = path is not None and path.suffix == LINES
    if path is not None and (of_texts or path.is_dir()) and of_texts == teacher.of_images:
        raise InputError(f"{path}: {teacher.folder} classifies {'images' if teacher.of_images else 'texts'}")
    if path is not None and of_texts:
        return read_texts(path, teacher)
    if path is not None and path.is_dir():
        return read_classes(path, teacher)
    found = examples_of(data)
    return found if teacher.of_images else Examples(found.inputs.long(), found.labels)
