"""What a model's tensors take of a role's memory, in this family: of P1's alone, who has them in the clear."""

from __future__ import annotations

import math

from secure.protocols.core import ring
from secure.protocols.core.secret import Parameter, Visibility
from secure.protocols.hybrid.lattice.parameters import PLAIN_BITS

_WORD_BYTES = ring.WORD_BITS // 8
_LOADING_WORDS = 4
"""Words for each element while a tensor is loaded: as it came, its magnitudes, and both forms that are kept."""


def loading_bytes(parameter: Parameter) -> int:
    """What loading a tensor takes, at most."""
    return _LOADING_WORDS * _WORD_BYTES * math.prod(parameter.shape)


def kept_bytes(parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int:
    """What a role keeps of it: a matrix for products of shares, and once more, in floating point, of ciphertexts."""
    if role == "p0":
        return 0
    elements = math.prod(parameter.shape)
    if not parameter.is_matrix:
        return _WORD_BYTES * elements
    return ((ring.element_bytes(PLAIN_BITS) if digits else _WORD_BYTES) + _WORD_BYTES) * elements
