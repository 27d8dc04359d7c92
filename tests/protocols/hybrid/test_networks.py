"""Networks of images by two parties, beside torch."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("tenseal")

from secure.protocols.hybrid.garbled.circuits import Garbler
from tests.protocols.hybrid.networks import Predicted, ResNet, SmallPictures, predict

ULP = 2.0**-16


def check_costs(found: Predicted) -> None:
    for done in (found.made, found.used):
        for index, meter in enumerate(done.meters):
            assert all(row.measured == row.declared.at(f"p{index}") for row in meter.rows.values())


@pytest.mark.parametrize("garbler", ["client", pytest.param("server", marks=pytest.mark.slow), "nobody"])
def test_a_small_network_gives_what_torch_does(garbler: Garbler) -> None:
    torch.manual_seed(1)
    found = predict(SmallPictures(), torch.randn(2, 3, 10, 10), garbler=garbler)
    assert (found.outputs - found.expected).abs().max() < 32 * ULP
    check_costs(found)
    if garbler == "client":
        assert found.kept_bytes[0] == 8 * found.outputs.numel() + 32  # its share of the answer, a seed, and the offset


@pytest.mark.slow
@pytest.mark.parametrize("garbler", ["client", "server", "nobody"])
def test_resnet_20_gives_what_torch_does(garbler: Garbler) -> None:
    torch.manual_seed(1)
    found = predict(ResNet(3), torch.randn(1, 3, 32, 32), garbler=garbler)
    # A unit of rounding in each of twenty layers, and what weights and later layers make of it.
    assert (found.outputs - found.expected).abs().max() < 256 * ULP
    assert int(found.outputs.argmax()) == int(found.expected.argmax())
    check_costs(found)
