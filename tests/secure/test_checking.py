"""`secure.check`: what leaves the range is named by layer and value, before anything is shared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import secure
from secure.cli.main import app
from secure.connection import Parties
from secure.loading import Loaded
from secure.models.contract.rehearsal import RangeCheck
from secure.models.graph.capture import capture
from secure.module import PrivateModule
from secure.protocols.core.errors import BoundError, InputError


class Layers(nn.Module):
    """One function of each kind of promise, in layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 4, bias=False), nn.LayerNorm(4, eps=1e-12)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(4))

    def forward(self, x: Tensor, divisor: Tensor) -> Tensor:
        return self.norm(self.first(x)) / divisor + functional(x)


def functional(x: Tensor) -> Tensor:
    return nn.functional.gelu(x) + torch.exp(torch.clamp(x, max=9.5)) * 1e-4


ORDINARY = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.25, -1.0, 2.0]])
ONES = torch.ones(2, 4)


def found(x: Tensor, divisor: Tensor = ONES) -> RangeCheck:
    return secure.check(Layers().eval(), x, divisor)


def test_all_is_well() -> None:
    result = found(ORDINARY)
    assert result.fine and not result.findings
    assert str(result).startswith("all numbers are in range: the largest is ")
    assert set(result.largest) == {"first", "norm", "module"}


def test_a_constant_row_is_well() -> None:
    assert found(torch.full((2, 4), -7000.0)).fine


@pytest.mark.parametrize(
    ("x", "divisor", "layer", "message"),
    [
        (ORDINARY * 1e-4, ONES, "norm", r"a norm takes sums of squares from 9\.5\S+ to \S+, not \S+e-\d+ to"),
        (ORDINARY, ONES * 1e-3, "module", r"inverse takes magnitudes of 0\.015625 or more, not 0\.001"),
        (ORDINARY + 7.0, ONES, "module", r"exp takes -2048 to 2\.25, not .* to 2\.375"),
        (torch.full((2, 4), 8190.0), ONES, "module", r"gelu takes .* to 81\d\d, not"),
    ],
)
def test_layer_and_value_are_named(x: Tensor, divisor: Tensor, layer: str, message: str) -> None:
    result = found(x, divisor)
    assert not result.fine
    assert [finding.layer for finding in result.findings] == [layer]
    assert str(result).startswith("secure arithmetic would give wrong results for these inputs:\n")
    assert re.search(message, str(result)), str(result)


class Of(nn.Module):
    """One function alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "below"),
    [
        (torch.rsqrt, 1e-4),
        (torch.reciprocal, 1e-3),
        (lambda x: nn.functional.normalize(x, dim=-1), 1e-4),
        (lambda x: x.norm(dim=-1), 1e-4),
    ],
    ids=["rsqrt", "reciprocal", "normalize", "norm"],
)
def test_rows_below_a_stated_domain_are_named(function: Callable[[Tensor], Tensor], below: float) -> None:
    module = Of(function).eval()
    assert secure.check(module, ONES).fine
    row = torch.stack([torch.ones(4), torch.full((4,), below)])
    assert [finding.layer for finding in secure.check(module, row).findings] == ["module"]


def test_an_input_out_of_range_is_named() -> None:
    with pytest.raises(BoundError, match=r"input 'x' has entries of magnitude 2\^13"):
        found(torch.full((2, 4), 8192.0))


def test_a_loaded_module_checks_itself_where_its_weights_are() -> None:
    checkpoint = capture(Layers().eval(), (ORDINARY, ONES))
    nobody = cast(Parties, None)
    model = PrivateModule(lambda progress: Loaded(checkpoint.manifest, {}, 0.0, checkpoint=checkpoint), nobody)
    assert model.check(ORDINARY, ONES).fine
    assert not model.check(ORDINARY * 1e-4, ONES).fine
    with pytest.raises(InputError, match="1 inputs; the module takes 2: x, divisor"):
        model.check(ORDINARY)
    with pytest.raises(InputError, match="the weights of this model are not here"):
        PrivateModule(lambda progress: Loaded(checkpoint.manifest, {}, 0.0), nobody).check(ORDINARY, ONES)


def test_a_checkpoint(checkpoint: Path, parties: Parties) -> None:
    ids = [[2, 6, 7, 3], [2, 8, 3, 0]]
    mask = [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert secure.check(checkpoint, input_ids=ids, attention_mask=mask).fine
    model = secure.PrivateModel.from_pretrained(checkpoint, parties=parties)
    assert model.check(input_ids=ids, attention_mask=mask).fine
    with pytest.raises(InputError, match="given by name"):
        secure.check(checkpoint, ids)
    with pytest.raises(InputError, match="no input is called 'ids'"):
        secure.check(checkpoint, ids=ids)
    with pytest.raises(InputError, match="by position"):
        secure.check(Layers().eval(), x=ORDINARY)


def test_the_command(checkpoint: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(checkpoint), "--text", "the cat sat", "--text", "a dog ."])
    assert done.exit_code == 0, done.output
    assert "all numbers are in range" in done.output
