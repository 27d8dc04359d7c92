"""Patches: the image that a ViT sees, cut into patches.

Transforms: each flattened patch p ← p·M by the client, M any invertible matrix of C·h·w pixels, and the patch
convolution W ← M⁻¹·W; patches change places, and the rows of the position table with them.

Exact because the patch convolution does not overlap: it is one product on each flattened patch. After it nothing but
the position table tells patches apart. Positions cannot be interpolated to another image size any more.

Leaves: the Gram matrix of patches in the metric (M·Mᵀ), equal patches (a plain background) as equal, and M⁻¹·W with
its singular values. Hidden states of patches come back shuffled; the class token stays first.
"""

from __future__ import annotations

import torch

from secure.protocols.equivariant.action import Action, Blocks, Permutation
from secure.protocols.equivariant.key import Key

CONDITION = 4.0
"""Largest over smallest singular value of M. Rounding in pixels grows by no more than this."""


def mixing(key: Key, size: int) -> Action:
    """M for one flattened patch."""
    return Blocks(*key.stream("patches", "pixels").invertible(size, CONDITION))


def pixel_order(key: Key, size: int) -> Permutation:
    """M as a permutation."""
    return Permutation(key.stream("patches", "pixels").permutation(size))


def order(key: Key, count: int) -> Permutation:
    """The order of patches, behind the class token, which stays first."""
    return Permutation(torch.cat((torch.zeros(1, dtype=torch.int64), 1 + patch_order(key, count).order)))


def patch_order(key: Key, count: int) -> Permutation:
    """The order of patches."""
    return Permutation(key.stream("patches", "order").permutation(count))
