"""Softplus: ln(1 + e^x)."""

from __future__ import annotations

import torch

from secure.protocols.core.piecewise import LARGEST, Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.piecewise import piecewise

_CUT = 9.0

# Softplus(x) - x/2 is even, and |x|/2 up to 1.2e-4 outside the cuts. Least largest error over six odd harmonics of
# period 32 and a constant, by linear programming on 1,600 points of [0, 9.125], where a blurred cut may end: 1.3e-4.
SOFTPLUS = Piecewise(
    name="softplus",
    thresholds=(-_CUT, _CUT),
    pieces=(
        None,
        Piece(
            constant=4.0004655516,
            slope=0.5,
            period=32.0,
            cosines=(
                (1, -3.0460156722),
                (3, -0.2146715728),
                (5, -0.0367786368),
                (7, -0.0075492732),
                (9, -0.0017920615),
                (11, -0.0003773194),
            ),
        ),
        Piece(slope=1.0),
    ),
    reference=torch.nn.functional.softplus,
    domain=(-LARGEST, LARGEST),
    max_error=4e-4,
    compare_bits=31,
    blur_bits=3,
    output_bits=17,  # half of x is exact
)


def softplus(x: Secret) -> Secret:
    """ln(1 + e^x) elementwise, with 17 fraction bits. Shapes: any -> same. Error: 4e-4 for |x| < 2^13.

    Reveals nothing. Source: Dugas et al., Incorporating second-order functional knowledge, 2000.
    """
    return piecewise(x, SOFTPLUS)
