"""The transform that a manifest describes, and questions about transforms that several commands ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secure.ee.files.manifest import EncryptionManifest
from secure.models.families.registry import encrypted_family
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.rule import Moved
from secure.protocols.equivariant.transform import Transform, plan


def planned(manifest: EncryptionManifest, config: Mapping[str, Any], key: Key) -> Transform:
    """The transform that made a checkpoint. config: the base's config.json."""
    return plan(
        encrypted_family(config),
        config,
        key,
        factors=manifest.factors,
        noise=manifest.noise,
        permutations=manifest.permutations,
        keep_tie=manifest.keep_tie,
    )


def vocabulary_tables(transform: Transform) -> list[str]:
    """The tensors with one row for each token: embedding, head, and the head's bias."""
    found = []
    for name in transform.tensors:
        rule = transform.rule(name)
        if isinstance(rule, Moved) and rule.vocabulary_axis is not None:
            found.append(name)
    return found
