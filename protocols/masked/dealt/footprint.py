"""What a model's tensors take of a role's memory where a dealer knows the masks."""

from __future__ import annotations

import math

from secure.protocols.core import ring
from secure.protocols.core.secret import Parameter, Visibility

OPENED_ELEMENTS = 1 << 23
"""Elements of a weight matrix that are opened at a time: 67 MB in full words."""
_OPENING_WORDS = 7
"""Words for each of them: a mask, the sum with it, a message there and one back (twice), their sum, its negative."""
_WORD_BYTES = ring.WORD_BITS // 8
_SHORT_BYTES = 4
"""Bytes of a weight in the clear: with f = 16 it is below 2^29 in magnitude."""


def loading_bytes(parameter: Parameter) -> int:
    """What loading a tensor takes, at most."""
    elements = math.prod(parameter.shape)
    return _WORD_BYTES * (elements + _OPENING_WORDS * min(elements, OPENED_ELEMENTS))


def kept_bytes(parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int:
    """What a role keeps of it."""
    elements, at_dealer = math.prod(parameter.shape), role == "dealer"
    if not parameter.is_matrix:
        # Share, opened form and mask of a vector; the dealer has masks alone.
        return _WORD_BYTES * elements * (3 if parameter.opened and not at_dealer else 1)
    if visibility is Visibility.PUBLIC and at_dealer:
        return 0
    narrow = 4 if parameter.bits <= ring.HALF_WORD_BITS else _WORD_BYTES
    full = ring.element_bytes(parameter.bits) if digits else narrow
    if visibility is Visibility.PUBLIC or (visibility is Visibility.SERVER and role == "p1"):
        full = min(full, _SHORT_BYTES)
    forms = 2 if visibility is Visibility.PRIVATE and not at_dealer else 1
    return full * forms * elements
