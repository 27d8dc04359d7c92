"""The Galois ring R = Z_2^k[X] / (X^43 + X^6 + X^4 + X^3 + 1): polynomials below degree 43 over Z_2^k.

The modulus is irreducible modulo 2, so R / 2R is the field of 2^43 elements. Polynomials whose coefficients are 0 and 1
are one each of that field's elements, and the difference of two of them has an inverse. So they are what a polynomial
equation over Z_2^k can be tested at: let q be a polynomial over Z_2^k in any number of variables, not zero, of degree D
in all. It is 2^j q' for a q' that is not zero modulo 2, and where q vanishes, q' is zero modulo 2. By Schwartz and
Zippel, in the field, it vanishes at uniform elements with coefficients 0 and 1 with probability D / 2^43 at most. In
Z_2^k itself the bound is D / 2, as 2^(k-1) times anything even is zero.

An element is its coefficients, lowest first, along the last axis of an int64 tensor of k-bit ring elements: see `ring`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring

DEGREE = 43
TERMS = (0, 3, 4, 6)
"""Exponents of the modulus below its degree: X^43 = -(1 + X^3 + X^4 + X^6)."""


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """x y, element by element. Shapes: int64 [..., 43], both the same -> same."""
    product = torch.zeros((*x.shape[:-1], 2 * DEGREE - 1), dtype=torch.int64, device=x.device)
    for i in range(DEGREE):
        product[..., i : i + DEGREE] += x[..., i : i + 1] * y
    return _reduced(product)


def weighted_sum(weights: Tensor, x: Tensor, bits: int) -> Tensor:
    """sum_n weights_n x_n in Z_2^bits. Shapes: int64 [N, 43] twice -> [43]."""
    pairs = ring.matmul(weights.T, x, bits)  # of coefficients, each summed over n
    total = torch.zeros(2 * DEGREE - 1, dtype=torch.int64, device=x.device)
    for i in range(DEGREE):
        total[i : i + DEGREE] += pairs[i]
    return _reduced(total)


def matrices(x: Tensor) -> Tensor:
    """The matrix by which a row is multiplied from the left for its product with x. Shapes: [..., 43] -> [..., 43, 43].

    Row i is X^i x.
    """
    found = torch.zeros((*x.shape, 2 * DEGREE - 1), dtype=torch.int64, device=x.device)
    for i in range(DEGREE):
        found[..., i, i : i + DEGREE] = x
    return _reduced(found)


def _reduced(x: Tensor) -> Tensor:
    """A longer polynomial modulo the ring's. Shapes: [..., n] -> [..., 43]."""
    while x.shape[-1] > DEGREE:
        high = x[..., DEGREE:]
        width = max(DEGREE, high.shape[-1] + TERMS[-1])
        x = torch.nn.functional.pad(x[..., :DEGREE], (0, width - DEGREE))
        for exponent in TERMS:
            x[..., exponent : exponent + high.shape[-1]] -= high
    return x
