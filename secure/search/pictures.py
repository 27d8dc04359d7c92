"""Data as a folder of pictures: a folder for each class, whose files are pictures or arrays.

A picture, which Pillow reads, becomes what the checkpoint's preprocessor_config.json says: it is resized, put between 0
and 1, and normalised. An array (.npy) is taken as the model takes it, float [C, H, W].
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from secure.models.checkpoint.folder import read_json
from secure.models.families.vit import VitConfig
from secure.protocols.core.errors import InputError
from secure.search.examples import Examples
from secure.search.teacher import Teacher

PREPROCESSOR_NAME = "preprocessor_config.json"
ARRAY = ".npy"
_BILINEAR = 2
_BYTE = 1 / 255


@dataclass(frozen=True)
class Preprocessing:
    """What a picture becomes. size: height and width in pixels; resample: of Pillow's filters, by number."""

    size: tuple[int, int]
    resample: int
    factor: float
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, teacher: Teacher) -> Preprocessing:
        """What the checkpoint's own processor does. Raises InputError where there is none, and for one that crops."""
        path, config = teacher.folder / PREPROCESSOR_NAME, teacher.config
        assert isinstance(config, VitConfig)
        if not path.is_file():
            raise InputError(f"{teacher.folder} has no {PREPROCESSOR_NAME}, which says how pictures become its inputs")
        said = read_json(path)
        size = said.get("size", {})
        sides = (size.get("height"), size.get("width")) if isinstance(size, dict) else (size, size)
        height, width = (side if isinstance(side, int) else 0 for side in sides)
        if min(height, width) < 1 or said.get("do_center_crop"):
            raise InputError(f"{path}: size is {size!r}; pictures are resized to a height and a width, and not cropped")
        normalises = said.get("do_normalize", True)
        means, deviations = (
            torch.tensor(said.get(field, default) if normalises else default, dtype=torch.float32).expand(
                config.channels
            )
            for field, default in (("image_mean", [0.0]), ("image_std", [1.0]))
        )
        factor = said.get("rescale_factor", _BYTE) if said.get("do_rescale", True) else 1.0
        return cls((height, width), said.get("resample", _BILINEAR), factor, means, deviations)

    def read(self, path: Path) -> Tensor:
        """One picture. Shapes: -> [C, H, W]. Raises InputError for what is none."""
        from PIL import Image

        height, width = self.size
        try:
            with Image.open(path) as file:
                picture = file.convert("L" if len(self.mean) == 1 else "RGB").resize(
                    (width, height), Image.Resampling(self.resample)
                )
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a picture: {type(error).__name__}") from None
        pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).reshape(height, width, -1).permute(2, 0, 1)
        return (pixels * self.factor - self.mean[:, None, None]) / self.deviation[:, None, None]


def read_classes(folder: Path, teacher: Teacher) -> Examples:
    """All files of a folder's folders, in memory at once; files whose names begin with a point are left out.

    Raises InputError where there are no such folders, for one that is no label of the model, and for a file that is
    neither a picture nor an array, or not of the model's size.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    numbers = _labels(folder, [path.name for path in classes], teacher)
    found = [(path, numbers[each.name]) for each in classes for path in sorted(each.iterdir()) if _counts(path)]
    if len(found) < 2:
        raise InputError(f"{folder} has {len(found)} files in its folders; two inputs are needed, or more")
    inputs, preprocessing = [], None
    for path, _ in found:
        if path.suffix == ARRAY:
            inputs.append(_array(path))
            continue
        if preprocessing is None:
            if find_spec("PIL") is None:
                raise InputError(f"{path}: to read pictures, install Pillow: pip install pillow")
            preprocessing = Preprocessing.of(teacher)
        inputs.append(preprocessing.read(path))
    for (path, _), given in zip(found, inputs, strict=True):
        if given.shape != inputs[0].shape:
            raise InputError(f"{path} is {tuple(given.shape)}, and {found[0][0]} {tuple(inputs[0].shape)}")
    return Examples(torch.stack(inputs), torch.tensor([number for _, number in found]))


def _counts(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)).to(torch.float32)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as an array: {type(error).__name__}") from None


def _labels(folder: Path, names: list[str], teacher: Teacher) -> dict[str, int]:
    """Numbers of classes: as config.json names them, or in the order of their names where it names none."""
    if not names:
        raise InputError(f"{folder} has no folders; it must have one for each class")
    known = {str(name): int(number) for name, number in (teacher.raw.get("label2id") or {}).items()}
    count = teacher.config.labels
    if not known or set(known) == {f"LABEL_{number}" for number in range(count)}:
        if len(names) != count:
            raise InputError(f"{folder} has {len(names)} folders; the model has {count} classes without names")
        return {name: number for number, name in enumerate(names)}
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known, key=lambda name: known[name]))
            raise InputError(f"{folder / name} is no class of the model; these are {listed}")
    return known
