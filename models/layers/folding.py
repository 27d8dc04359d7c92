"""Identities that make layers behind a norm cheap: each moves work from the session to the checkpoint.

A norm never sees the mean of what it normalises: where every matrix that writes to the residual stream is centred, the
mean is zero from the beginning, and layer norm needs none. A norm's gain and offset are absorbed by the matrix that
reads it. Where the next layer adds to the norm's result itself, as in BERT, the matrix that writes there absorbs the
offset, too, and the one that reads has a further column, which gives the mean of what the gain makes of it. Queries
absorb the scale of scores, and log2(e), so that the softmax works in powers of two.

D width, K and N: inputs and outputs of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core.primitives import halve, truncate
from secure.protocols.core.secret import Secret

MOST_WIDTH = 4096
"""The widest row that a norm with a mean reads: the sum of its squares must fit."""


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


def with_mean(gain: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer that reads a norm, with a column that computes the mean of gain * x, for `mean_of`.

    It comes out 2^mean_bits times as large: the column's entries, gain / D, and the mean keep as many more digits.
    Shapes: [D], [D, N], [N] -> [D, N + 1], [N + 1].
    """
    width = len(gain)
    column = gain * (2.0 ** mean_bits(width) / width)
    return torch.cat([weight, column.unsqueeze(1)], 1), torch.cat([bias, torch.zeros_like(bias[:1])])


def joined_with_stream(
    gain: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Two layers behind a norm with nothing between them, and what they are added to, gain * x less its mean, as one.

    first, second: as `reading` and `writing` give them. Shapes: ([D, F], [F]), ([F, D], [D]) -> [D, D], [D].
    """
    (up, up_bias), (down, down_bias) = first, second
    return up @ down + centred(torch.diag(gain)), up_bias @ down + down_bias


def mean_of(column: Secret, width: int) -> Secret:
    """The mean of gain * x from the last column of such a layer's result. Shapes: [..., 1] -> the same."""
    return halve(column, mean_bits(width))


def mean_bits(width: int) -> int:
    """The binary logarithm of sqrt(D), rounded down: where |gain| sqrt(D) < 2^12, the column's result is below 2^12."""
    return (width.bit_length() - 1) // 2


def scaled_down(x: Secret, exponent: int) -> Secret:
    """x / 2^exponent at x's own scale. Shapes: any -> same."""
    return truncate(halve(x, exponent), x.fraction_bits) if exponent else x
