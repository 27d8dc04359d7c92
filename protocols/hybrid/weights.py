"""What a role keeps of a model's tensors between sessions: P1, the owner, the numbers, and P0 the shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secure.protocols.core.errors import BoundError
from secure.protocols.core.factor import Factor, Keep
from secure.protocols.core.secret import Parameter
from secure.protocols.hybrid.lattice.parameters import MOST_NORM_BITS, PLAIN_BITS


@dataclass(frozen=True, eq=False)
class OwnerVector:
    """A tensor that is added. values: at P1."""

    values: Tensor | None = field(repr=False)
    shape: tuple[int, ...]
    fraction_bits: int


@dataclass(frozen=True, eq=False)
class OwnerMatrix:
    """A right factor of products. factor, numbers: at P1, for products of shares and for those of ciphertexts.

    Shapes: numbers float64 [K, N], integers.
    """

    factor: Factor | None = field(repr=False)
    numbers: NDArray[Any] | None = field(repr=False)
    shape: tuple[int, ...]
    fraction_bits: int


def prepared(parameter: Parameter, values: Tensor | None, keep: Keep) -> OwnerVector | OwnerMatrix:
    """What is kept. values: at P1, int64 as the parameter says.

    Raises BoundError for a matrix whose noise would not be drowned: see `secure.protocols.hybrid.lattice.parameters`.
    """
    if not parameter.is_matrix:
        return OwnerVector(values, parameter.shape, parameter.fraction_bits)
    if values is None:
        return OwnerMatrix(None, None, parameter.shape, parameter.fraction_bits)
    norm = int(values.abs().sum(0).max())
    if norm >= 1 << MOST_NORM_BITS:
        most, found = (number / 2.0**parameter.fraction_bits for number in (1 << MOST_NORM_BITS, norm))
        raise BoundError(
            f"a matrix of shape {list(parameter.shape)} has a column whose magnitudes add up to {found:.6g}; protocol "
            f"'hybrid' hides weights in the noise of ciphertexts as long as that is below {most:g}: scale the layer "
            "down, or use protocol 'beaver'"
        )
    numbers = values.numpy().astype(np.float64)
    return OwnerMatrix(keep([values], PLAIN_BITS), numbers, parameter.shape, parameter.fraction_bits)
