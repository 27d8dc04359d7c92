"""The clamped form of a piecewise function is the function itself."""

from __future__ import annotations

import pytest
import torch

from protocols.core.piecewise import Piece, Piecewise
from protocols.functions import compare, gelu, octaves, relu, tanh


def value(function: Piecewise, x: float) -> float:
    piece = function.pieces[sum(x >= t for t in function.thresholds)]
    return 0.0 if piece is None else piece.value(x)


@pytest.mark.parametrize("function", [gelu.GELU, tanh.TANH], ids=lambda f: f.name)
def test_clamped_is_the_same_function(function: Piecewise) -> None:
    parts = function.clamped
    assert parts is not None
    assert parts.limits.pieces[0] is None and parts.straight.pieces[0] is None  # so that one bit less is opened
    for x in torch.linspace(-9, 9, 1801, dtype=torch.float64).tolist():
        argument = parts.low + value(parts.limits, x)
        assert argument == pytest.approx(min(max(x, function.thresholds[0]), function.thresholds[1]), abs=1e-12)
        found = parts.series.value(argument) + parts.base + value(parts.straight, x)
        assert found == pytest.approx(value(function, x), abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [relu.relu_function(16), compare.NEGATIVE, octaves.reciprocal_function(-1, 2)],
    ids=lambda f: f.name,
)
def test_functions_without_one_smooth_piece_have_no_clamped_form(function: Piecewise) -> None:
    assert function.clamped is None


def test_a_slope_below_the_lower_threshold_has_no_clamped_form() -> None:
    wave = Piece(period=4.0, cosines=((1, 1.0),))
    function = Piecewise("f", (-1.0, 1.0), (Piece(slope=1.0), wave, None), torch.relu, (-1.0, 1.0))
    assert function.clamped is None
