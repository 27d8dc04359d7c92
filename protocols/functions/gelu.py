"""GeLU, the exact one, x Φ(x), and the approximation by tanh that GPT-2 was trained with."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.piecewise import piecewise

_CUT = 4.25
_MOST = 8187.0
"""Beyond, the distance from the other cut is 2^13 or more, which would take one more digit to compare."""


def reference(x: Tensor) -> Tensor:
    """x * (1 + erf(x / sqrt 2)) / 2. Shapes: float64 any -> same."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


# Outside [-4.25, 4.25] GeLU is 0 or x up to 4.5e-5. Inside, GeLU(x) - x/2 is even; it is so close to |x|/2 near the
# cuts that its reflection there is smooth, and odd harmonics of period 16 suffice. Least largest error over five of
# them and a constant, by linear programming on 1,200 points of [0, 4.375], where a blurred cut may end: 9.0e-5.
GELU = Piecewise(
    name="gelu",
    thresholds=(-_CUT, _CUT),
    pieces=(
        None,
        Piece(
            constant=1.9997909717,
            slope=0.5,
            period=16.0,
            cosines=(
                (1, -1.7320189401),
                (3, -0.2149766827),
                (5, -0.0457526577),
                (7, -0.0065231856),
                (9, -0.0004293847),
            ),
        ),
        Piece(slope=1.0),
    ),
    reference=reference,
    domain=(-_MOST, _MOST),
    max_error=4e-4,
    compare_bits=30,
    blur_bits=3,
    amplitude_bits=14,
    basis_bits=14,
    output_bits=17,  # half of x is exact
    integer_bits=13,
)


def gelu(x: Secret) -> Secret:
    """x Φ(x) elementwise, with 17 fraction bits. Shapes: any -> same. Error: 4e-4 for |x| <= 8187. Reveals nothing."""
    return piecewise(x, GELU)


def tanh_reference(x: Tensor) -> Tensor:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2. Shapes: float64 any -> same."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# It differs from the exact one by up to 4.7e-4. Fitted likewise: 8.0e-5, and 2.0e-5 outside.
GELU_TANH = replace(
    GELU,
    name="gelu-tanh",
    pieces=(
        None,
        Piece(
            constant=1.9998517307,
            slope=0.5,
            period=16.0,
            cosines=(
                (1, -1.732052558),
                (3, -0.2152094412),
                (5, -0.0455561827),
                (7, -0.0064300253),
                (9, -0.0005238598),
            ),
        ),
        Piece(slope=1.0),
    ),
    reference=tanh_reference,
)


def gelu_tanh(x: Secret) -> Secret:
    """GeLU's approximation by tanh, with 17 fraction bits. Shapes: any -> same. Error: 4e-4 for |x| <= 8187.

    Reveals nothing. Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """
    return piecewise(x, GELU_TANH)
