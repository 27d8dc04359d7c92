"""Folders of pictures by class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor

from secure.protocols.core.errors import InputError
from secure.search.data import read_data
from secure.search.pictures import Preprocessing
from secure.search.teacher import Teacher, read_teacher
from tests.models.images import save_vit

PROCESSOR: dict[str, Any] = {
    "size": {"height": 8, "width": 8},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.2, 0.1],
}


@pytest.fixture
def colours(tmp_path: Path) -> Teacher:
    """A model of pictures of 8 x 8 pixels, of the classes cat and dog."""
    save_vit(tmp_path / "model", label2id={"dog": 0, "cat": 1}, id2label={0: "dog", 1: "cat"})
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return read_teacher(tmp_path / "model")


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 31, 3), dtype=np.uint8)).save(path)
    return path


def test_a_folder_for_each_class_with_the_numbers_of_config_json(colours: Teacher, tmp_path: Path) -> None:
    picture(tmp_path / "data" / "cat" / "one.png", 1)
    picture(tmp_path / "data" / "cat" / ".hidden.png", 2)
    picture(tmp_path / "data" / "dog" / "two.jpg", 3)
    np.save(tmp_path / "data" / "dog" / "three.npy", np.full((3, 8, 8), 0.25))
    found = read_data(tmp_path / "data", colours)
    assert found.labels.tolist() == [1, 0, 0]
    assert found.inputs.shape == (3, 3, 8, 8)
    assert float(found.inputs[1].mean()) == 0.25, "an array is taken as it is"
    colours.check(found)


def test_pictures_become_what_the_checkpoints_processor_makes_of_them(colours: Teacher, tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png", 5)
    due = ViTImageProcessor(**PROCESSOR)(Image.open(path), return_tensors="pt")["pixel_values"][0]
    assert float((Preprocessing.of(colours).read(path) - due).abs().max()) < 0.02  # half a step of 255 over 0.1


def test_classes_without_names_are_in_order(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", num_labels=2)
    for number, name in enumerate(("a", "b")):
        (tmp_path / "data" / name).mkdir(parents=True)
        np.save(tmp_path / "data" / name / "x.npy", np.full((3, 8, 8), number))
    assert read_data(tmp_path / "data", read_teacher(tmp_path / "model")).labels.tolist() == [0, 1]
    (tmp_path / "data" / "c").mkdir()
    with pytest.raises(InputError, match="3 folders; the model has 2 classes without names"):
        read_data(tmp_path / "data", read_teacher(tmp_path / "model"))


def test_what_is_no_such_folder_is_refused(colours: Teacher, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="data has 0 files in its folders"):
        read_data(data, colours)
    (data / "cat" / "x.png").write_bytes(b"no picture")
    picture(data / "dog" / "y.png", 1)
    with pytest.raises(InputError, match=r"x\.png cannot be read as a picture"):
        read_data(data, colours)
    (data / "cat" / "x.png").unlink()
    np.save(data / "dog" / "z.npy", torch.zeros(3, 4, 4).numpy())
    with pytest.raises(InputError, match=r"z\.npy is \(3, 4, 4\)"):
        read_data(data, colours)
    (data / "bird").mkdir()
    with pytest.raises(InputError, match="bird is no class of the model; these are dog, cat"):
        read_data(data, colours)
    (colours.folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 8}}))
    with pytest.raises(InputError, match="resized to a height and a width, and not cropped"):
        Preprocessing.of(colours)
    (colours.folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"has no preprocessor_config\.json"):
        Preprocessing.of(colours)
