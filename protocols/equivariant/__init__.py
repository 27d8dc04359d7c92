"""Equivariant encryption: a checkpoint moved by a secret element of its network's own symmetry group.

Row vectors, y = xW. A key draws one element for each space of activations (`action.py`); one file for each factor says
what it transforms, why that is exact, and what it leaves to an attacker; `families/` says which tensor touches which
space. `plan` makes the transform of one configuration, which works tensor by tensor and holds no checkpoint.
"""

from __future__ import annotations

from secure.protocols.equivariant.adapter import EncryptedAdapter, encrypt_adapter
from secure.protocols.equivariant.choice import FACTORS
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.families.family import EncryptedFamily
from secure.protocols.equivariant.key import Key, Stream
from secure.protocols.equivariant.rule import Source
from secure.protocols.equivariant.transform import Transform, plan

__all__ = [
    "FACTORS",
    "EncryptedAdapter",
    "EncryptedFamily",
    "Key",
    "Source",
    "Stream",
    "Transform",
    "Vocabulary",
    "encrypt_adapter",
    "plan",
]
