"""What a model needs at a role: here one that has no parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secure.models.checkpoint.conversion import write_split
from secure.models.contract.manifest import WeightVisibility
from secure.models.graph.capture import capture
from secure.models.storage.capacity import needed_bytes, plan_room
from secure.models.storage.weight_file import Room
from tests.families import FAMILIES
from tests.in_process import Family


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("weights", ["private", "public"])
def test_a_model_without_parameters_needs_nothing(weights: WeightVisibility, family: Family, tmp_path: Path) -> None:
    checkpoint = capture(torch.nn.ReLU(), torch.randn(2, 3), weights=weights)
    manifest = write_split(checkpoint, tmp_path, protocol=family.name)
    for role in ("p0", "p1", "p2", "dealer"):
        assert needed_bytes(manifest, role, digits=False) == 0
        for free in (-1, 0, 1 << 30):  # a container's limit may be below what is used
            assert plan_room(manifest, role, free, tmp_path, digits=False) == Room(0)
