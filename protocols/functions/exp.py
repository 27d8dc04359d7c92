"""The exponential function of numbers that are not positive."""

from __future__ import annotations

import math

from secure.protocols.core.secret import Secret
from secure.protocols.masked.gates.exponential import exp2_negative


def exp_negative(x: Secret) -> Secret:
    """e^(-x) elementwise for 0 <= x < 8191 / log2(e); zero from x = 11.09 on, where it is below 2^-16.

    Shapes: any -> same. Error: 1e-4. Reveals nothing.
    """
    return exp2_negative(x * math.log2(math.e))
