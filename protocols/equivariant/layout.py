"""What a family says about one configuration: a rule for each tensor, and what clients do to inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secure.protocols.equivariant.action import Action
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.pixels import Pixels
from secure.protocols.equivariant.rule import Rule


@dataclass(frozen=True)
class Layout:
    """encrypt: rules by name of the encrypted checkpoint's tensors, in its order.
    decrypt: rules for tensors of the base that are not turned back by the rule of the same name.
    base: tensors that the base checkpoint has, with their shapes, in its order.
    prefix: what stands before names of the body, and is missing in files that were saved without a head.
    buffers: endings of tensors that older files hold beside the weights and that loaders compute themselves.
    residual, pooled: what acts on the hidden states and on the pooled vector that a model without a head gives.
    tokens: what acts on the order of tokens, where the client shuffles patches.
    pixels: what acts on an input image."""

    family: str
    encrypt: Mapping[str, Rule]
    base: Mapping[str, tuple[int, ...]]
    decrypt: Mapping[str, Rule] = field(default_factory=dict)
    config_changes: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    buffers: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    residual: Action | None = None
    pooled: Action | None = None
    tokens: Action | None = None
    pixels: Pixels | None = None
