"""What a family of architectures is to equivariant encryption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from secure.protocols.equivariant.choice import Choice
from secure.protocols.equivariant.layout import Layout


@dataclass(frozen=True)
class EncryptedFamily:
    """A family's name, the factors that it has, and the rules for one configuration.

    model_type: of the configurations. heads: those that `layout` knows, by the architectures that config.json names.
    ties: tensors of a head that a configuration with tie_word_embeddings does without, with what each is then.
    layout(config, choice, head): raises CheckpointError naming the field that is not supported.
    """

    name: str
    model_type: str
    factors: tuple[str, ...]
    heads: Mapping[str, str]
    layout: Callable[[Mapping[str, Any], Choice, str], Layout]
    ties: Mapping[str, str] = field(default_factory=dict)
