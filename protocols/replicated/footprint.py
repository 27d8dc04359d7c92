"""What a model's tensors take of a party's memory, in this family."""

from __future__ import annotations

import math

from secure.protocols.core import ring
from secure.protocols.core.secret import Parameter, Visibility

_HELD_WORDS = 5
"""Words for each element that is loaded: two shares, and three sums of them."""
_WORD_BYTES = ring.WORD_BITS // 8


def loading_bytes(parameter: Parameter) -> int:
    """What loading a tensor takes, at most."""
    return _WORD_BYTES * _HELD_WORDS * math.prod(parameter.shape)


def kept_bytes(parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int:
    """What a party keeps of it."""
    elements = math.prod(parameter.shape)
    if not parameter.is_matrix:
        # This is as much as two parties and a dealer keep of a vector, which is more than two shares.
        return _WORD_BYTES * elements * (3 if parameter.opened else 1)
    # A share and an opened form at two parties; at the third, which helps, a mask.
    return _WORD_BYTES * elements * (1 if visibility is Visibility.PUBLIC else 2)
