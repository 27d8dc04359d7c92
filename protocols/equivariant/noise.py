"""Noise on the weights before they are encrypted: the only option here that costs accuracy.

Each weight with two axes or more becomes W + σ·rms(W)·N with N standard normal, drawn by the key and the tensor's name
in the base's order: the same noise for a tied embedding and its head, and at every epoch of the vocabulary. Gains and
biases stay. Decryption leaves the noise in place, so the base itself cannot be had back from the encrypted checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.rule import Source


def noisy(base: Source, key: Key, level: float) -> Source:
    """The base with noise of this standard deviation, relative to each weight's root mean square."""

    def read(name: str) -> Tensor:
        tensor = base(name)
        if tensor.dim() < 2 or not tensor.is_floating_point():
            return tensor
        exact = tensor.to(torch.float64)
        scale = level * exact.square().mean().sqrt()
        return exact + scale * key.stream("noise", name).normal(*tensor.shape)

    return read
