"""The logistic function."""

from __future__ import annotations

from secure.protocols.core.secret import Secret
from secure.protocols.functions.tanh import tanh


def sigmoid(x: Secret) -> Secret:
    """1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2 elementwise.

    Shapes: any -> same. Error: 5e-4 for |x| < 2^13, half of tanh's and two roundings. Reveals nothing.
    """
    return (tanh(x * 0.5) + 1.0) * 0.5
