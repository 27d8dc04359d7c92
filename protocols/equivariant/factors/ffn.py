"""FFN: the neurons between the two products of a feed-forward block.

Transforms, gated (gate, up, down): gate ← gate·P, up ← up·S·P, down ← Pᵀ·S⁻¹·down, with a permutation P and any
nonzero S. Ungated (up, down): up ← up·P, down ← Pᵀ·down.

Exact because the activation acts on each neuron alone, so neurons may change places. The gated product
act(g)·u is linear in u, which may be scaled; g may not, as the activation is not linear.

Leaves: the norm of each gate column and all inner products of gate columns (through Q), the multiset of gate values
in traffic; ungated, the same of up and down. Scales leave the direction of each column of up.
"""

from __future__ import annotations

from secure.protocols.equivariant.action import Chain, Permutation, Scale
from secure.protocols.equivariant.key import Key

RATIO = 4.0
"""Largest over smallest scale. Floating point loses nothing by scales, but the ranges of a later quantiser grow."""


def neurons(key: Key, layer: int, size: int) -> Permutation:
    """P, for the gate, and for both weights where there is no gate."""
    return Permutation(key.stream("ffn", str(layer), "order").permutation(size))


def scaled_neurons(key: Key, layer: int, size: int) -> Chain:
    """S·P with signs and scales, for up and down beside a gate."""
    stream = key.stream("ffn", str(layer), "scales")
    return Chain(Scale(stream.signs(size) * stream.scales(size, RATIO)), neurons(key, layer, size))
