"""Normalisations in front of a product: where their gains and biases go when the stream is rotated.

    N(x) = norm(x)·diag(γ) + β        norm: RMSNorm (then β = 0) or LayerNorm without gain and bias

norm(xQ) = norm(x)·Q, but diag(γ) and Q do not commute. So a reader y = N(x)·W + b takes γ and β in:

    W ← diag(γ)·W        b ← b + β·W        γ ← 1, β ← 0

A reader without a bias (a head) leaves β behind in the form β/γ, which the diag(γ) in front of W makes whole again;
only there must γ stay away from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.rule import Axis, Constant, Rule, Source, fetch

# β/γ beyond this would cost more than 13 of float32's 24 bits in the sum with a normalised vector.
_LARGEST_RATIO = 1e4


@dataclass(frozen=True)
class Norm:
    """A normalisation whose gain and bias its readers take in. bias: "" for RMSNorm."""

    weight: str
    bias: str = ""


@dataclass(frozen=True)
class FoldedBias(Rule):
    """b ← (b + β·W)·M: a reader's bias with that of the normalisation before it. It stays folded on decryption.

    transposed: the weight is [in, out] (GPT-2's Conv1D), not [out, in].
    free: first and last + 1 of the entries that nothing depends on (biases of keys), which become 0.
    """

    name: str
    shape: tuple[int, ...]
    axis: Axis | None
    weight: str
    inputs: int
    norm: str
    transposed: bool = False
    free: tuple[int, int] = (0, 0)

    def encrypt(self, base: Source) -> Tensor:
        size = self.shape[0]
        shape = (self.inputs, size) if self.transposed else (size, self.inputs)
        weight = fetch(base, self.weight, shape)
        shift = fetch(base, self.norm, (self.inputs,))
        bias = fetch(base, self.name, self.shape) + (shift @ weight if self.transposed else weight @ shift)
        bias[slice(*self.free)] = 0.0
        return bias if self.axis is None else self.axis.apply(bias, 0)

    def decrypt(self, encrypted: Source) -> Tensor:
        bias = fetch(encrypted, self.name, self.shape)
        return bias if self.axis is None else self.axis.undo(bias, 0)


@dataclass(frozen=True)
class PartlyFree(Rule):
    """A bias of which some entries are free (those of keys) and become 0; the rest moves. Fields as FoldedBias."""

    name: str
    shape: tuple[int, ...]
    axis: Axis
    free: tuple[int, int]

    def encrypt(self, base: Source) -> Tensor:
        bias = fetch(base, self.name, self.shape)
        bias[slice(*self.free)] = 0.0
        return self.axis.apply(bias, 0)

    def decrypt(self, encrypted: Source) -> Tensor:
        return self.axis.undo(fetch(encrypted, self.name, self.shape), 0)


@dataclass(frozen=True)
class DividedBias(Rule):
    """β ← (β/γ)·Q, where the reader has no bias to take β in."""

    name: str
    shape: tuple[int, ...]
    axis: Axis
    gain: str

    def encrypt(self, base: Source) -> Tensor:
        bias, gain = fetch(base, self.name, self.shape), fetch(base, self.gain, self.shape)
        ratio = torch.where(bias == 0, 0.0, bias / gain)
        if not bool((ratio.abs() <= _LARGEST_RATIO).all()):
            raise CheckpointError(
                f"{self.gain} is 0 or nearly so where {self.name} is not, and the weight behind them has no bias: "
                "the residual factor would lose precision; leave it out, or use permutations"
            )
        return self.axis.apply(ratio, 0)

    def decrypt(self, encrypted: Source) -> Tensor:
        return self.axis.undo(fetch(encrypted, self.name, self.shape), 0)


@dataclass(frozen=True)
class TiedGain(Rule):
    """The final gain of a base whose head is its embedding, found again from the encrypted pair: head = E·diag(γ).

    For each column γ is ⟨head, E⟩ / ⟨E, E⟩, the least-squares ratio; 1 where a column is all zeros.
    """

    shape: tuple[int, ...]
    embedding: Rule
    head: Rule

    def encrypt(self, base: Source) -> Tensor:
        return Constant(self.shape, 1.0).encrypt(base)

    def decrypt(self, encrypted: Source) -> Tensor:
        table, head = self.embedding.decrypt(encrypted), self.head.decrypt(encrypted)
        squares = (table * table).sum(0)
        ratio = (table * head).sum(0) / squares
        return ratio.where(squares > 0, ratio.new_ones(()))


@dataclass(frozen=True)
class TiedBias(Rule):
    """The final bias of such a base: β = (β/γ)·γ."""

    shape: tuple[int, ...]
    divided: Rule
    gain: Rule

    def encrypt(self, base: Source) -> Tensor:
        return self.divided.encrypt(base)

    def decrypt(self, encrypted: Source) -> Tensor:
        return self.divided.decrypt(encrypted) * self.gain.decrypt(encrypted)
