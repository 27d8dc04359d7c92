"""What a model's tensors take of a role's memory, in this family: an evaluator has two parts of what is private."""

from __future__ import annotations

from secure.protocols.core.secret import Parameter, Visibility
from secure.protocols.masked.dealt import footprint

DEALERS = ("dealer", "dealer2")
"""Roles that deal; where there is one dealer, the first of them."""


def loading_bytes(parameter: Parameter) -> int:
    """What loading a tensor takes, at most."""
    return 2 * footprint.loading_bytes(parameter)


def kept_bytes(parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int:
    """What a role keeps of it."""
    at_dealer = role in DEALERS
    kept = footprint.kept_bytes(parameter, DEALERS[0] if at_dealer else role, visibility, digits=digits)
    if at_dealer or visibility is Visibility.PUBLIC:
        return kept
    # A matrix is kept as two shares and, once, what was opened of it.
    return kept + kept // 2 if parameter.is_matrix else 2 * kept
