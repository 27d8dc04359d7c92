"""The table of operations on masked pairs: which program computes which primitive. A gate of its own is one line.

A family passes this table to its protocol, with rows of its own for what it does in another way.
"""

from __future__ import annotations

from secure.protocols.core import primitives, secret
from secure.protocols.core.secret import row
from secure.protocols.masked.gates import (
    chosen,
    decompose,
    exponential,
    largest,
    pieces_at_once,
    piecewise,
    triple_product,
)
from secure.protocols.masked.programs import arithmetic, linear, products

ROWS = (
    row(secret.add_public, arithmetic.add_public),
    row(secret.scale, arithmetic.scale),
    row(secret.sum_along, arithmetic.sum_along),
    row(secret.multiply, products.multiply),
    row(secret.matmul, products.matmul),
    row(primitives.halve, arithmetic.halve),
    row(primitives.widen, arithmetic.widen),
    row(primitives.known_below, arithmetic.known_below),
    row(primitives.multiply_public, arithmetic.multiply_public),
    row(primitives.compose, arithmetic.compose),
    row(primitives.multiply_weight, products.multiply_weight),
    row(triple_product.multiply_three, triple_product.compute),
    row(primitives.linear, linear.linear),
    row(primitives.convolve, linear.convolve),
    row(piecewise.piecewise, pieces_at_once.evaluate),
    row(largest.largest_of_few, largest.find_largest),
    row(exponential.exp2_negative, chosen.exponentiate),
    row(decompose.decompose, decompose.find_bits),
)
