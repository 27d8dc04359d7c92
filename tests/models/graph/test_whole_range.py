"""Layers of torch on numbers at the ends of the range, where the example had none: in every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secure.models.graph.capture import capture
from secure.models.graph.network import GraphNetwork
from secure.models.program import network
from tests.families import FAMILIES
from tests.in_process import Family
from tests.models.runs import secure_run

LARGEST = 8191.5
ROWS = torch.tensor(
    [
        [70.0, -70.0, 70.0, -70.0],
        [127.0, -127.0, 127.0, -127.0],
        [4200.0, -4200.0, -4200.0, 4200.0],
        [-4200.0, 4200.0, 0.0, 0.0],
        [LARGEST, -LARGEST, LARGEST, -LARGEST],
        [-LARGEST, -LARGEST, -LARGEST, LARGEST],
        [0.0, 0.0, 0.0, 3000.0],
        [8000.0, -8000.0, 3.0, -3.0],
        [-1.5, 0.5, 2.0, 8187.0],
    ],
    dtype=torch.float64,
)


class Layers(nn.Module):
    """What compares, normalises or saturates, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.groups = nn.GroupNorm(2, 4)
        self.pool = nn.MaxPool1d(2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        turned = torch.cat([x[:, 2:], x[:, :2]], -1)
        return {
            "norm": self.norm(x),
            "groups": self.groups(x.unsqueeze(-1).repeat(1, 1, 3)),
            "pool": self.pool(x.unsqueeze(1)),
            "hardswish": nn.functional.hardswish(x),
            "hardsigmoid": nn.functional.hardsigmoid(x),
            "relu6": nn.functional.relu6(x),
            "maximum": torch.maximum(x, turned),
            "minimum": torch.minimum(x, turned),
            "clamp": torch.clamp(x, -4.5, 100.0),
            "abs": torch.abs(x),
            "amax": x.amax(-1),
            "leaky relu": nn.functional.leaky_relu(x, 0.25),
        }


UNIT = 2.0**-16
# Hard swish multiplies x by a number with 16 fraction bits; a norm by an inverse with errors as its docstring declares.
ERRORS = {"norm": 0.04, "groups": 0.04, "hardswish": 8192 * 2 * UNIT, "leaky relu": 8192 * 2.0**-21 + 2 * UNIT}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_layers_at_the_ends_of_the_range(family: Family, tmp_path: Path) -> None:
    module = Layers().eval()
    checkpoint = capture(module, torch.randn(ROWS.shape))
    net = network(checkpoint.manifest)
    assert isinstance(net, GraphNetwork)
    found = net.arrange(secure_run(checkpoint, tmp_path, "hidden", {net.graph.inputs[0].name: ROWS}, family))
    with torch.no_grad():
        due = module.double()(ROWS)
    for name, theirs in due.items():
        error = float((found[name] - theirs).abs().max())
        assert error <= ERRORS.get(name, 2 * UNIT), (name, error, found[name], theirs)
