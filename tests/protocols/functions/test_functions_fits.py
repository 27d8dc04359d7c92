"""The literal coefficients in `functions/` give the errors that their comments and Piecewise objects claim."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.functions import (
    compare,
    elu,
    gelu,
    reciprocal_and_root,
    relu,
    silu,
    softmax,
    tanh,
)
from secure.protocols.functions.modules import division, exponential, logarithm, softplus, unit_rows
from secure.protocols.masked.gates.piecewise import piecewise
from tests.in_process import secure
from tests.protocols.arguments import LARGEST, on_grid

POINTS = 400_001


def value(piece: Piece | None, x: Tensor) -> Tensor:
    """A piece in float64, from the definition."""
    if piece is None:
        return torch.zeros_like(x)
    result = piece.constant + piece.slope * x
    for j, amplitude in piece.cosines:
        result = result + amplitude * torch.cos(2 * math.pi * j * x / piece.period)
    for j, amplitude in piece.sines:
        result = result + amplitude * torch.sin(2 * math.pi * j * x / piece.period)
    return result


def evaluate(function: Piecewise, x: Tensor) -> Tensor:
    index = torch.bucketize(x, torch.tensor(function.thresholds, dtype=torch.float64), right=True)
    result = torch.empty_like(x)
    for i, piece in enumerate(function.pieces):
        chosen = index == i
        result[chosen] = value(piece, x[chosen])
    return result


def grid(low: float, high: float) -> Tensor:
    return torch.linspace(low, high, POINTS, dtype=torch.float64)


# Fit errors named in comments: the function, where it is fitted, the claim. Its last digit is rounded, so half a unit
# of it is allowed.
FITS = [
    pytest.param(gelu.GELU, (-4.25, 4.25), 9.0e-5, 0.05e-5, id="gelu"),
    pytest.param(gelu.GELU, (-LARGEST, -4.25 - 1e-9), 4.5e-5, 0.05e-5, id="gelu-left"),
    pytest.param(gelu.GELU, (4.25, LARGEST), 4.5e-5, 0.05e-5, id="gelu-right"),
    pytest.param(gelu.GELU_TANH, (-4.25, 4.25), 8.0e-5, 0.05e-5, id="gelu-tanh"),
    pytest.param(gelu.GELU_TANH, (-LARGEST, -4.25 - 1e-9), 2.0e-5, 0.05e-5, id="gelu-tanh-left"),
    pytest.param(gelu.GELU_TANH, (4.25, LARGEST), 2.0e-5, 0.05e-5, id="gelu-tanh-right"),
    pytest.param(silu.SILU, (-16.25, 16.25), 4.2e-4, 0.05e-4, id="silu"),
    pytest.param(silu.SILU, (-LARGEST, -16.25 - 1e-9), 1.4e-6, 0.05e-6, id="silu-left"),
    pytest.param(silu.SILU, (16.25, LARGEST), 1.4e-6, 0.05e-6, id="silu-right"),
    pytest.param(tanh.TANH, (-4.0, 4.0), 5.8e-4, 0.05e-4, id="tanh"),
    pytest.param(tanh.TANH, (4.0, LARGEST), 3.4e-4, 0.05e-4, id="tanh-tail"),
    pytest.param(elu.ELU, (-9.0, -1e-9), 5.5e-5, 0.05e-5, id="elu"),
    pytest.param(elu.ELU, (-LARGEST, -9.0 - 1e-9), 6.2e-5, 0.05e-5, id="elu-left"),
    pytest.param(softplus.SOFTPLUS, (-9.0, 9.0), 1.3e-4, 0.05e-4, id="softplus"),
    pytest.param(softplus.SOFTPLUS, (9.0, 8191.0), 1.2e-4, 0.05e-4, id="softplus-right"),
    pytest.param(exponential.QUARTER, (-2.8, 2.25), 1.3e-6, 0.05e-6, id="exp"),
    pytest.param(logarithm.logarithm_function(0, 1, 32), (1.0, 2.0 - 1e-9), 8.3e-7, 0.05e-7, id="log"),
    pytest.param(reciprocal_and_root.reciprocal_function(0, 1), (1.0, 2.0 - 1e-9), 1.8e-6, 0.05e-6, id="reciprocal"),
    pytest.param(
        reciprocal_and_root.inverse_root_function(1, 0, 1), (1.0, 2.0 - 1e-9), 1.3e-5, 0.05e-5, id="inverse-root"
    ),
]


@pytest.mark.parametrize(("function", "interval", "claim", "rounding"), FITS)
def test_fit(function: Piecewise, interval: tuple[float, float], claim: float, rounding: float) -> None:
    x = grid(*interval)
    error = float((evaluate(function, x) - function.reference(x)).abs().max())
    assert error <= claim + rounding
    if interval[1] - interval[0] < 100:
        assert error >= 0.8 * claim, "the claim should say how good the fit is"


EVERY = [
    gelu.GELU,
    gelu.GELU_TANH,
    silu.SILU,
    tanh.TANH,
    relu.relu_function(16),
    compare.NEGATIVE,
    reciprocal_and_root.reciprocal_function(-4, 13),
    reciprocal_and_root.reciprocal_function(-1, 8),
    reciprocal_and_root.reciprocal_function(-1, 13, 22),
    reciprocal_and_root.inverse_root_function(1, -8, 13),
    reciprocal_and_root.inverse_root_function(1, -8, 16, 22),
    reciprocal_and_root.inverse_root_function(384, -12, 20, 17),
    reciprocal_and_root.inverse_root_function(768, -11, 21, 17),
    reciprocal_and_root.inverse_root_function(768, -5, 27, 17),
    reciprocal_and_root.fine_inverse_root(768, -5, 27, 41),
    reciprocal_and_root.fine_inverse_root(4096, -2, 30, 39),
    elu.ELU,
    softplus.SOFTPLUS,
    exponential.QUARTER,
    logarithm.logarithm_function(-1, 13, 32),
    division.inverse_function(16),
    unit_rows.inverse_norm_function(32),
]
IDS = [f"{i}-{function.name}" for i, function in enumerate(EVERY)]


def sample(function: Piecewise, low: float, high: float) -> Tensor:
    """Evenly spread, and evenly over the magnitudes, with both sides of every threshold."""
    magnitudes = torch.logspace(-6, math.log2(high), POINTS, base=2.0, dtype=torch.float64)
    thresholds = torch.tensor(function.thresholds, dtype=torch.float64)
    x = torch.cat([grid(low, high), magnitudes, -magnitudes, thresholds, thresholds - 2.0**-32])
    return x[(x >= low) & (x <= high)]


@pytest.mark.parametrize("function", EVERY, ids=IDS)
def test_declared_error_in_float64(function: Piecewise) -> None:
    x = sample(function, *function.domain)
    reference = function.reference(x)
    error = (evaluate(function, x) - reference).abs()
    assert float((error - function.max_error - function.relative_error * reference.abs()).max()) <= 0


@pytest.mark.parametrize("function", [f for f in EVERY if f.blur_bits is not None], ids=lambda f: f.name)
def test_declared_error_where_comparisons_are_blurred(function: Piecewise) -> None:
    """Either of the two pieces will do close to a threshold, with half of the error left for rounding."""
    assert function.blur_bits is not None
    blur = 2.0**-function.blur_bits
    for i, threshold in enumerate(function.thresholds):
        x = grid(threshold - blur, threshold + blur)
        for piece in function.pieces[i : i + 2]:
            value = torch.tensor([piece.value(float(v)) if piece else 0.0 for v in x[::50]])
            assert float((value - function.reference(x[::50])).abs().max()) <= function.max_error / 2


@pytest.mark.parametrize("function", EVERY, ids=IDS)
def test_declared_sizes(function: Piecewise) -> None:
    """Thresholds ascend, results fit their integer bits, differences from thresholds the compared bits."""
    assert len(function.pieces) == len(function.thresholds) + 1
    assert list(function.thresholds) == sorted(set(function.thresholds))
    low, high = function.domain
    largest = float(evaluate(function, sample(function, low, high)).abs().max())
    assert largest < 2.0**function.integer_bits
    reach = max(high - function.thresholds[0], function.thresholds[-1] - low)
    assert reach * 2.0**16 < 2.0 ** (function.compare_bits - 1)
    for piece in filter(None, function.pieces):
        if piece.harmonics:
            assert math.log2(piece.period) == int(math.log2(piece.period))


@pytest.mark.parametrize(
    "function", EVERY[:2] + EVERY[4:7] + EVERY[8:9] + EVERY[16:20], ids=IDS[:2] + IDS[4:7] + IDS[8:9] + IDS[16:20]
)
def test_declared_error_of_the_gate_on_a_dense_grid(function: Piecewise) -> None:
    """The same, fixed-point rounding included: what the parties compute."""
    low, high = function.domain
    x = on_grid(
        torch.cat(
            [torch.linspace(max(low, -6.0), 6.0, 20_001, dtype=torch.float64), sample(function, low, high)[::211]]
        )
    )
    run = secure(lambda s: piecewise(s, function), x)
    reference = function.reference(x)
    error = (run.real - reference).abs()
    assert float((error - function.max_error - function.relative_error * reference.abs()).max()) <= 0


def test_masked_scores_are_out_of_reach() -> None:
    """A masked score is below every unmasked one by more than 16 / log2(e), where the exponential is zero."""
    assert softmax.MASKED <= -2048.0
    x = torch.tensor([[2047.0, softmax.MASKED + 2030.0], [-2000.0, softmax.MASKED - 2000.0]], dtype=torch.float64)
    assert float(secure(lambda s: softmax.exponentials(s), x).real[:, 1].abs().max()) == 0
