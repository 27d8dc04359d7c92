"""The extension of Z_2^k that equations are tested in: that it is one, and its arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.galois_ring import DEGREE, TERMS, matrices, multiply, weighted_sum
from tests.protocols.joint_view.views import uniform

MODULUS = (1 << DEGREE) | sum(1 << exponent for exponent in TERMS)


def reduced(x: int) -> int:
    """A polynomial over two elements, one bit a coefficient, modulo ours."""
    while x.bit_length() > DEGREE:
        x ^= MODULUS << (x.bit_length() - 1 - DEGREE)
    return x


def squared(x: int) -> int:
    return reduced(int(f"{x:b}", 4))  # the coefficients move to even places


def common(x: int, y: int) -> int:
    """The greatest common divisor of polynomials over two elements."""
    while y:
        while x.bit_length() >= y.bit_length():
            x ^= y << (x.bit_length() - y.bit_length())
        x, y = y, x
    return x


def test_the_modulus_is_irreducible() -> None:
    """By Rabin's test: X^(2^43) = X, and X^2 - X, as 43 is a prime, has no factor in common with it."""
    power = 2
    for _ in range(DEGREE):
        power = squared(power)
    assert power == 2
    assert common(MODULUS, squared(2) ^ 2) == 1


def by_hand(x: list[int], y: list[int]) -> list[int]:
    product = [0] * (2 * DEGREE - 1)
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            product[i + j] += a * b
    for i in range(2 * DEGREE - 2, DEGREE - 1, -1):
        for exponent in TERMS:
            product[i - DEGREE + exponent] -= product[i]
    return [value % 2**64 for value in product[:DEGREE]]


def as_words(values: list[int]) -> Tensor:
    return torch.tensor([value - 2**64 if value >= 2**63 else value for value in values])


def test_products_are_those_of_polynomials() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = uniform((5, DEGREE), generator), uniform((5, DEGREE), generator)
    due = torch.stack([as_words(by_hand(a, b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    assert torch.equal(multiply(x, y), due)
    rows = ring.matmul(x.unsqueeze(1), matrices(y)).squeeze(1)
    assert torch.equal(rows, due)
    for bits in (24, 48, 64):
        assert torch.equal(ring.low(weighted_sum(x, y, bits), bits), ring.low(due.sum(0), bits))
