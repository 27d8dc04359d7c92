"""Integer tables of cosines and powers of two: their error, and that they never change unnoticed."""

from __future__ import annotations

import math

import torch

from secure.protocols.core import integer_functions

UNIT = 2.0**-integer_functions.SCALE_BITS
GENERATOR = torch.Generator().manual_seed(0)


def test_phasor_within_two_units() -> None:
    edges = torch.tensor([0, 1, 4095, 4096, 4097, 2**22, 2**23 - 1, 2**23, 2**24 - 1])
    angles = torch.cat([edges, torch.randint(0, 2**24, (200_000,), generator=GENERATOR)])
    cos, sin = integer_functions.phasor(angles)
    radians = angles.to(torch.float64) * (2 * math.pi / 2**24)
    assert float((cos.to(torch.float64) * UNIT - radians.cos()).abs().max()) <= 2 * UNIT
    assert float((sin.to(torch.float64) * UNIT - radians.sin()).abs().max()) <= 2 * UNIT


def test_phasor_reduces_angles() -> None:
    angles = torch.tensor([-1, -(2**24), 2**24 + 5, 3 * 2**24])
    for whole, reduced in zip(integer_functions.phasor(angles), integer_functions.phasor(angles % 2**24), strict=True):
        assert torch.equal(whole, reduced)


def test_rotate_is_a_complex_product() -> None:
    a, b = torch.randint(0, 2**24, (2, 1000), generator=GENERATOR)
    cos, sin = integer_functions.rotate(integer_functions.phasor(a), integer_functions.phasor(b))
    radians = ((a + b) % 2**24).to(torch.float64) * (2 * math.pi / 2**24)
    # Two phasors of two units each, and a rounding.
    assert float((cos.to(torch.float64) * UNIT - radians.cos()).abs().max()) <= 6.5 * UNIT
    assert float((sin.to(torch.float64) * UNIT - radians.sin()).abs().max()) <= 6.5 * UNIT


def test_power_of_two_within_two_units() -> None:
    """All 65,536 arguments."""
    fraction = torch.arange(2**16)
    error = integer_functions.power_of_two(fraction).to(torch.float64) * UNIT - 2.0 ** (
        fraction.to(torch.float64) / 2**16
    )
    assert float(error.abs().max()) <= 2 * UNIT


def test_rounded() -> None:
    x = torch.tensor([-6, -5, -2, -1, 0, 1, 2, 5, 6, 7])
    assert integer_functions.rounded(x, 0) is x
    # To nearest, ties upwards.
    assert integer_functions.rounded(x, 2).tolist() == [math.floor(v / 4 + 0.5) for v in x.tolist()]


def test_digest_is_pinned() -> None:
    """A different digest means tables that other versions do not hold: results between them would be nonsense."""
    assert integer_functions.digest() == "4492955023df49f4e78118d762bda606c98f9ce1276c7b782a221ace77c52a6c"
