"""Residual stream: one orthogonal Q for all layers.

Transforms: embeddings E ← EQ, writers W ← WQ (their biases too), readers W ← QᵀW, head ← Qᵀ·head.

Exact after RMSNorm, because ‖xQ‖ = ‖x‖, once each gain is folded into the weights that read its output. Exact after
LayerNorm when 1·Q = ±1 besides: then the mean of xQ is ± that of x, and subtracting it commutes with Q. Where a gain
cannot be folded (an embedding that stays tied to the head, a model without a head, BERT, whose next block adds what
the normalisation gave), Q is a permutation with signs: the gain moves along. After LayerNorm all signs are the same
one, which is exact because LayerNorm is odd but for its bias, and the bias takes the sign.

Drawn by Haar's measure up to 1,024 dimensions. Above, applying a dense matrix to every weight dominates all else, and
Q is P₀·H₁·T·H₂·P₂: secret permutations P around block-diagonal Haar matrices H with blocks of b ≥ 2√n. T deals the
members of each block of H₁ to the blocks of H₂ in turn, ⌊b²/n⌋ ≥ 4 or one more to each, so every entry of Q is a sum
of at least four products: Q is dense for certain. T need not be secret, as H₁ has a secret order in each block
already. Such a Q has about n·b free angles in place of n²/2. It is no weaker against what is known to work: attacks
that have the base solve for all of any orthogonal Q at once, and those that do not have nothing to compare it with.

Leaves: Gram matrices of rows of embedding and writers, singular values of every weight, norms of hidden states,
and with them everything that is known to identify rows to a server that has the base weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from secure.protocols.equivariant.action import Action, Chain, Permutation, orthogonal_blocks
from secure.protocols.equivariant.key import Key, Stream

_DENSE = 1024


def orthogonal(key: Key, size: int) -> Action:
    """Q for a stream that RMSNorm reads."""
    return _orthogonal(key.stream("residual"), size)


def mean_preserving(key: Key, size: int) -> Action:
    """Q with 1·Q = ±1, for a stream that LayerNorm reads: Q = F·(±1 ⊕ R)·F, F the reflection that swaps e₀ and 1/√n."""
    stream = key.stream("residual")
    sign = stream.signs(1)
    rest = _orthogonal(stream, size - 1)
    return Chain(_Reflection(size), _Beside(sign, rest), _Reflection(size))


def signed_permutation(key: Key, size: int) -> Permutation:
    """A permutation with a sign for each dimension, for RMSNorm whose gain stays."""
    stream = key.stream("residual")
    return Permutation(stream.permutation(size), stream.signs(size))


def permutation(key: Key, size: int, *, sign: bool = True) -> Permutation:
    """A permutation, with one sign for all dimensions where LayerNorm and its bias allow it."""
    stream = key.stream("residual")
    order = stream.permutation(size)
    return Permutation(order, stream.signs(1).expand(size) if sign else None)


def pooled(key: Key, size: int, *, signs: bool) -> Permutation:
    """What acts on a pooler's output, which tanh made: any permutation, and any signs as tanh is odd."""
    stream = key.stream("residual", "pooled")
    order = stream.permutation(size)
    return Permutation(order, stream.signs(size) if signs else None)


def _orthogonal(stream: Stream, size: int) -> Action:
    blocks = block_count(size)
    if blocks == 1:
        return orthogonal_blocks(stream.orthogonal(size)[None])
    width = size // blocks

    before, after = Permutation(stream.permutation(size)), Permutation(stream.permutation(size))
    first, second = (orthogonal_blocks(stream.orthogonal(width, blocks)) for _ in range(2))
    # Output i of the first stage goes to block i mod blocks of the second.
    deal = Permutation(torch.arange(size).reshape(width, blocks).T.flatten())
    return Chain(before, first, deal, second, after)


def block_count(size: int) -> int:
    """The most blocks of equal width at least 2√size; one where a dense matrix is cheap or the size has no divisor."""
    if size <= _DENSE:
        return 1
    limit = int(math.sqrt(size) / 2)
    return max(count for count in range(1, limit + 1) if size % count == 0)


class _Reflection(Action):
    """F = 1 − 2vvᵀ/vᵀv with v = 1/√n − e₀: symmetric, its own inverse, and it costs two passes."""

    def __init__(self, size: int) -> None:
        self.size = size
        vector = torch.full((size,), 1 / math.sqrt(size), dtype=torch.float64)
        vector[0] -= 1
        self._vector = vector / vector.norm()

    def write(self, x: Tensor) -> Tensor:
        reflected: Tensor = x - 2 * (x @ self._vector)[..., None] * self._vector
        return reflected

    def read(self, x: Tensor) -> Tensor:
        return self.write(x)

    def inverse(self) -> Action:
        return self


class _Beside(Action):
    """±1 ⊕ R: the first dimension keeps to itself."""

    def __init__(self, sign: Tensor, rest: Action) -> None:
        self.size = 1 + rest.size
        self._sign = sign
        self._rest = rest

    def write(self, x: Tensor) -> Tensor:
        return torch.cat((x[..., :1] * self._sign, self._rest.write(x[..., 1:])), -1)

    def read(self, x: Tensor) -> Tensor:
        return self.write(x)

    def inverse(self) -> Action:
        return _Beside(self._sign, self._rest.inverse())
