"""max(x, 0), and what is built of it."""

from __future__ import annotations

import torch

from protocols.core.piecewise import Piece, Piecewise
from protocols.core.secret import Secret

RELU = Piecewise(
    name="relu",
    thresholds=(0.0,),
    pieces=(None, Piece(slope=1.0)),
    reference=torch.relu,
    domain=(-8191.0, 8191.0),
)


def relu(x: Secret) -> Secret:
    """max(x, 0) elementwise. Shapes: any -> same. Exact. Reveals nothing."""
    return x.protocol.piecewise(x, RELU)


def maximum(x: Secret, y: Secret) -> Secret:
    """The larger of two secrets, elementwise: y + relu(x - y). Exact. Reveals nothing."""
    return y + relu(x - y)
