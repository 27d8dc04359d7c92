"""What a model's tensors take of a role's memory, in this family: an evaluator has two parts of what is private."""

from __future__ import annotations

from secure.protocols.core.secret import Parameter, Visibility
from secure.protocols.masked.dealt import footprint


def loading_bytes(parameter: Parameter) -> int:
    """What loading a tensor takes, at most."""
    return 2 * footprint.loading_bytes(parameter)


def kept_bytes(parameter: Parameter, role: str, visibility: Visibility, *, digits: bool) -> int:
    """What a role keeps of it."""
    kept = footprint.kept_bytes(parameter, role, visibility, digits=digits)
    return kept if role == "dealer" or visibility is Visibility.PUBLIC else 2 * kept
