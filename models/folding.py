"""Identities that make layers behind a norm cheap: each moves work from the session to the checkpoint.

A norm never sees the mean of what it normalises: where every matrix that writes to the residual stream is centred, the
mean is zero from the beginning, and layer norm needs none. A norm's gain and offset are absorbed by the matrix that
reads it. Queries absorb the scale of scores, and log2(e), so that the softmax works in powers of two.

D width, K and N: inputs and outputs of a layer.
"""

from __future__ import annotations

from torch import Tensor


def centred(x: Tensor) -> Tensor:
    """Less its mean over the width that a norm will see. Shapes: [..., D] -> the same."""
    return x - x.mean(-1, keepdim=True)


def writing(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer that adds to the residual stream, centred. Shapes: [K, D], [D] -> the same."""
    return centred(weight), centred(bias)


def reading(gain: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A layer behind a norm, with the norm's gain and offset absorbed; it has a bias then, if it had none before.

    Shapes: [D], [D], [D, N], [N] -> [D, N], [N].
    """
    absorbed = offset @ weight
    return gain.unsqueeze(1) * weight, absorbed if bias is None else bias + absorbed
