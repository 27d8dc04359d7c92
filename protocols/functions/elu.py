"""ELU: x above zero, e^x - 1 below."""

from __future__ import annotations

import math

import torch

from secure.protocols.core.piecewise import LARGEST, Piece, Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.piecewise import piecewise

_CUT = 9.0

# e^x - 1 is smooth up to zero, where x itself takes over; below the cut it is -1 up to 1.2e-4, which a constant halves.
# Least largest error over seven harmonics of period 16, by linear programming on 1,600 points of [-9 - 2^-7, 2^-7],
# where blurred cuts may end: 5.5e-5. Within 2^-7 of zero x is off by 3.1e-5.
ELU = Piecewise(
    name="elu",
    thresholds=(-_CUT, 0.0),
    pieces=(
        Piece(constant=math.exp(-_CUT) / 2 - 1),
        Piece(
            constant=0.2370741979,
            period=16.0,
            cosines=(
                (1, 1.1489205843),
                (2, -0.6842196506),
                (3, -0.7490608444),
                (4, -0.0739004312),
                (5, 0.1021803931),
                (6, 0.0211676742),
                (7, -0.0022003726),
            ),
            sines=(
                (1, 1.7858999081),
                (2, 1.2230633409),
                (3, -0.0837254219),
                (4, -0.325595432),
                (5, -0.0580644018),
                (6, 0.0212137927),
                (7, 0.0037058096),
            ),
        ),
        Piece(slope=1.0),
    ),
    reference=torch.nn.functional.elu,
    domain=(-LARGEST, LARGEST),
    max_error=3e-4,
    compare_bits=31,
    blur_bits=7,
)


def elu(x: Secret) -> Secret:
    """x where x > 0, e^x - 1 elsewhere, with 16 fraction bits. Shapes: any -> same. Error: 3e-4 for |x| < 2^13.

    Reveals nothing. Source: Clevert et al., Exponential linear units, 2015.
    """
    return piecewise(x, ELU)
