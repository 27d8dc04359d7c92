"""Activation functions by the names that config.json gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Secret
from secure.protocols.functions.policy_functions import gelu, gelu_tanh, silu
from secure.protocols.functions.relu import relu

ACTIVATIONS: Mapping[str, Callable[[Secret], Secret]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
    "swish": silu,
}


def check_activation(field: str, name: object) -> str:
    """Raises CheckpointError, naming the field, for an activation that is not served."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: {field} is {name!r}; supported: {', '.join(ACTIVATIONS)}")
    return name
