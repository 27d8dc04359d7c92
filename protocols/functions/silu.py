"""SiLU: x / (1 + e^-x)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from secure.protocols.core.piecewise import LARGEST, Piece
from secure.protocols.core.secret import Secret
from secure.protocols.functions.gelu import GELU
from secure.protocols.masked.gates.piecewise import piecewise

_CUT = 16.25


def reference(x: Tensor) -> Tensor:
    """x * sigmoid(x). Shapes: float64 any -> same."""
    return x * torch.sigmoid(x)


# It is computed like GeLU: SiLU(x) - x/2 is even, and |x|/2 up to 1.4e-6 outside the cuts. It bends less sharply for
# its width, so the period is 64 and there are thirteen odd harmonics. Least largest error by linear programming on
# 1,600 points of [0, 16.5]: 4.2e-4.
SILU = replace(
    GELU,
    name="silu",
    thresholds=(-_CUT, _CUT),
    pieces=(
        None,
        Piece(
            constant=8.0000091253,
            slope=0.5,
            period=64.0,
            cosines=(
                (1, -6.5840093352),
                (3, -0.7966278549),
                (5, -0.3031091703),
                (7, -0.1482437464),
                (9, -0.0777592055),
                (11, -0.0416148716),
                (13, -0.0224049981),
                (15, -0.0120805856),
                (17, -0.0065193738),
                (19, -0.0035165013),
                (21, -0.001898979),
                (23, -0.0010234496),
                (25, -0.0007803757),
            ),
        ),
        Piece(slope=1.0),
    ),
    reference=reference,
    domain=(-LARGEST, LARGEST),
    max_error=1e-3,
    compare_bits=31,
    blur_bits=2,  # so that the whole range takes as many digits as GeLU's with half the blur
)


def silu(x: Secret) -> Secret:
    """x / (1 + e^-x) elementwise, with 17 fraction bits. Shapes: any -> same. Error: 1e-3 for |x| < 2^13.

    Reveals nothing. Source: Elfwing et al., Sigmoid-weighted linear units, 2017.
    """
    return piecewise(x, SILU)
