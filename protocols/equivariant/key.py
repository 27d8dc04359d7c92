"""The key of equivariant encryption: 32 secret bytes, from which every factor draws its own stream.

A stream is addressed by labels: HKDF-SHA256 (RFC 5869) expands the secret under them to a key of AES-128 in counter
mode. Streams of different labels are independent, so a factor can be drawn again alone, in any order, on any machine.
Only the vocabulary's stream depends on the epoch: to move the epoch is to rekey the vocabulary and nothing else.

Whole numbers, permutations and signs are the same on every machine. Matrices come out of a factorisation whose last
bits depend on the linear algebra underneath: keys hold to rounding (1e-15), not to the bit.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core.aes import NONCE_BYTES, counter_mode
from secure.protocols.core.errors import InputError

KEY_BYTES = 32
_DOMAIN = b"secure-inference equivariant 1"
_STREAM_KEY_BYTES = 16
_CHECK_BYTES = 16
# A float64 in [0, 1) takes the top 53 bits of a word.
_MANTISSA = 53


@dataclass(frozen=True)
class Key:
    """32 secret bytes and the vocabulary's epoch."""

    secret: bytes = field(repr=False)
    epoch: int = 0

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise InputError(f"a key has {KEY_BYTES} bytes, this one has {len(self.secret)}")
        if self.epoch < 0:
            raise InputError(f"the epoch of a vocabulary counts from 0; this one is {self.epoch}")

    @classmethod
    def generate(cls) -> Key:
        """A new key, from the operating system's generator."""
        return cls(os.urandom(KEY_BYTES))

    def rekeyed(self) -> Key:
        """This key with the next vocabulary; all other factors stay."""
        return replace(self, epoch=self.epoch + 1)

    def stream(self, *labels: str) -> Stream:
        """The stream with this address. Streams whose first label is "vocabulary" depend on the epoch too."""
        epoch = (f"epoch {self.epoch}",) if labels[0] == "vocabulary" else ()
        return Stream(self._expand("stream", *labels, *epoch, size=_STREAM_KEY_BYTES))

    @property
    def check_value(self) -> str:
        """Tells two keys (or epochs) apart without telling anything about either; safe to publish."""
        return self._expand("check value", f"epoch {self.epoch}", size=_CHECK_BYTES).hex()

    def _expand(self, *labels: str, size: int) -> bytes:
        """HKDF-SHA256. Each label goes in behind its length, so that no two lists of labels share an address."""
        parts = [label.encode() for label in labels]
        info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        extracted = hmac.digest(_DOMAIN, self.secret, hashlib.sha256)
        # One block of SHA-256 is enough: size is at most 32.
        return hmac.digest(extracted, info + b"\x01", hashlib.sha256)[:size]


class Stream:
    """Random draws from one address, each of them in order. All tensors are on the CPU."""

    def __init__(self, key: bytes) -> None:
        self._cipher = counter_mode(key)
        self._draws = 0

    def __repr__(self) -> str:
        return "Stream(key hidden)"

    def words(self, count: int) -> Tensor:
        """Uniform 64-bit words as int64 [count]."""
        host = np.empty(8 * count, np.uint8)
        self._cipher.fill(self._draws.to_bytes(NONCE_BYTES, "big"), host)
        self._draws += 1
        return torch.from_numpy(host.view("<i8"))

    def integers(self, count: int, bound: int) -> Tensor:
        """Uniform in 0 … bound − 1, int64 [count]; the remainder's bias is below bound / 2^63."""
        return self.words(count).bitwise_and(2**63 - 1).remainder(bound)

    def permutation(self, n: int) -> Tensor:
        """A uniform order of 0 … n − 1, int64 [n]: the order that sorts n random words."""
        return torch.argsort(self.words(n), stable=True)

    def signs(self, n: int) -> Tensor:
        """±1, float64 [n]."""
        return 1.0 - 2.0 * self.words(n).bitwise_and(1).double()

    def uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high), float64 [n]."""
        top = (self.words(n) >> (64 - _MANTISSA)).bitwise_and(2**_MANTISSA - 1)
        return low + (high - low) * (top.double() / 2.0**_MANTISSA)

    def angles(self, n: int) -> Tensor:
        """Uniform in [0, 2π), float64 [n]."""
        return self.uniform(n, 0.0, 2.0 * math.pi)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal by Box and Muller's formula, float64 `shape`."""
        count = math.prod(shape)
        half = (count + 1) // 2
        # 1 − u is in (0, 1], where the logarithm is finite.
        radius = (-2.0 * torch.log(1.0 - self.uniform(half))).sqrt()
        angle = self.angles(half)
        return torch.cat((radius * angle.cos(), radius * angle.sin()))[:count].reshape(shape)

    def scales(self, n: int, ratio: float) -> Tensor:
        """Positive, log-uniform in [1/√ratio, √ratio), float64 [n]: the largest over the smallest is below `ratio`."""
        half = 0.5 * math.log(ratio)
        return self.uniform(n, -half, half).exp()

    def orthogonal(self, n: int, blocks: int = 1) -> Tensor:
        """Orthogonal matrices by Haar's measure, float64 [blocks, n, n], or [n, n] for one.

        The Q of a normal matrix is Haar once the diagonal of R is positive (Mezzadri 2007).
        """
        # numpy's: that of torch is right too, but slower by far when its threads compete for busy cores.
        q, r = np.linalg.qr(self.normal(blocks, n, n).numpy())
        q *= np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, None, :]
        haar = torch.from_numpy(q)
        return haar[0] if blocks == 1 else haar

    def invertible(self, n: int, condition: float, blocks: int = 1) -> tuple[Tensor, Tensor]:
        """Invertible matrices M = U·diag(s)·V, U and V Haar, of at most this condition number, and all M⁻ᵀ.

        M⁻ᵀ = U·diag(1/s)·V needs no matrix to be inverted. Shapes: float64 [blocks, n, n], both.
        """
        left, right = (self.orthogonal(n, blocks).reshape(blocks, n, n) for _ in range(2))
        middle = self.scales(blocks * n, condition).reshape(blocks, 1, n)
        return (left * middle) @ right, (left / middle) @ right

    def permutations(self, n: int, blocks: int) -> Tensor:
        """Independent orders of 0 … n − 1, int64 [blocks, n]."""
        return torch.stack([self.permutation(n) for _ in range(blocks)])
