"""The smooth form of a piecewise function is the function itself."""

from __future__ import annotations

import pytest
import torch

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.functions import compare, gelu, reciprocal_and_root, relu, silu, tanh


@pytest.mark.parametrize("function", [gelu.GELU, gelu.GELU_TANH, silu.SILU, tanh.TANH], ids=lambda f: f.name)
def test_the_smooth_form_is_the_same_function(function: Piecewise) -> None:
    smooth = function.smooth
    assert smooth is not None
    for x in torch.linspace(-18, 18, 3601, dtype=torch.float64).tolist():
        number = sum(x >= t for t in function.thresholds)
        piece = function.pieces[number]
        found = smooth.base
        if number == 1:
            assert abs(smooth.series.value(x)) < 2.0**smooth.series_integer_bits
            found += smooth.lines[0].value(x) + smooth.series.value(x)
        elif number == 2:
            found += smooth.lines[1].value(x)
        assert found == pytest.approx(0.0 if piece is None else piece.value(x), abs=1e-12)


@pytest.mark.parametrize(
    "function",
    [relu.relu_function(16), compare.NEGATIVE, reciprocal_and_root.reciprocal_function(-1, 2)],
    ids=lambda f: f.name,
)
def test_functions_without_one_smooth_piece_have_no_smooth_form(function: Piecewise) -> None:
    assert function.smooth is None


def test_a_slope_below_the_lower_threshold_has_no_smooth_form() -> None:
    wave = Piece(period=4.0, cosines=((1, 1.0),))
    function = Piecewise("f", (-1.0, 1.0), (Piece(slope=1.0), wave, None), torch.relu, (-1.0, 1.0))
    assert function.smooth is None
