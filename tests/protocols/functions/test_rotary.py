"""Rotations by public angles: their tables, and what one costs on shares."""

from __future__ import annotations

import math

import pytest
import torch

from secure.protocols.core.cost import Cost
from secure.protocols.core.primitives import truncate
from secure.protocols.core.secret import Secret
from secure.protocols.functions.rotary import rotate, rotations
from tests.in_process import secure

FREQUENCIES = 10_000.0 ** -torch.arange(0, 1, 1 / 8)


@pytest.mark.parametrize("scale", [1.0, 1.3466])
def test_cosines_and_sines(scale: float) -> None:
    positions = torch.tensor([0, 1, 2, 511, 4095, 131_071])
    cos, sin = rotations(positions, FREQUENCIES, scale)
    angles = (positions.float().unsqueeze(1) * FREQUENCIES).double()
    assert float((cos - scale * angles.cos()).abs().max()) < 2.1e-7 * scale
    assert float((sin - scale * angles.sin()).abs().max()) < 2.1e-7 * scale


def test_the_first_position_is_not_turned() -> None:
    cos, sin = rotations(torch.tensor([0]), FREQUENCIES)
    assert bool((cos == 1).all()) and not sin.any()


def test_scores_depend_on_differences_of_positions() -> None:
    q, k = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def score(first: int, second: int) -> float:
        places = rotations(torch.tensor([first]), FREQUENCIES), rotations(torch.tensor([second]), FREQUENCIES)
        turned = [complex_parts(x) * torch.complex(*place) for x, place in zip((q, k), places, strict=True)]
        return float((turned[0] * turned[1].conj()).real.sum())

    def complex_parts(x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x[:, :8], x[:, 8:])

    assert math.isclose(score(9, 4), score(1009, 1004), abs_tol=1e-4)
    assert not math.isclose(score(9, 4), score(9, 5), abs_tol=1e-2)


def test_one_opening_leaves_enough_for_a_product() -> None:
    """Queries and keys as a linear layer leaves them, the pair of a truncation: one round, and none before scores."""
    values = torch.randn(2, 4, 3, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    places = rotations(torch.arange(3), FREQUENCIES)

    def turned(x: Secret) -> Secret:
        with x.protocol.layer("before"):
            x = truncate(x, 16)
        with x.protocol.layer("turned"):
            x = rotate(x, *places)
        with x.protocol.layer("scores"):
            return x[:, :2] @ x[:, 2:].transpose(-1, -2)

    meter = secure(turned, values, scales=(32,)).meters["p1"]
    cost = {layer: Cost(0, 0, 0) for layer in ("turned", "scores")}
    for (layer, _), row in meter.rows.items():
        if layer in cost:
            cost[layer] += row.measured
    elements = values.numel()
    # 7 bytes online, as a truncation leaves out low bits.
    assert cost["turned"] == Cost(rounds=1, online_bytes=7 * elements, dealer_bytes=(8 + 2) * elements)
    assert cost["scores"].rounds == 1
