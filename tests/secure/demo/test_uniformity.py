"""The chi-square test tells uniform bytes from others."""

from __future__ import annotations

import math
import random

import pytest

from secure.demo.uniformity import uniformity
from secure.protocols.core.errors import InputError


def test_uniform_bytes_pass() -> None:
    found = uniformity(random.Random(1).randbytes(100_000))
    assert found.count == 100_000
    assert 160 < found.chi_square < 380
    assert found.p_value > 1e-4


def test_p_value_is_that_of_255_degrees_of_freedom() -> None:
    # Exactly equal counts: chi-square 0, and larger values are certain.
    assert uniformity(bytes(range(256)) * 5).p_value == 1.0
    data = bytearray(bytes(range(256)) * 5)
    data[:5] = b"\x00\x01\x01\x01\x01"  # 1 comes three times more; 2, 3 and 4 once less each
    found = uniformity(bytes(data))
    assert math.isclose(found.chi_square, (3 * 1 + 3**2) / 5)
    assert found.p_value > 0.999


@pytest.mark.parametrize("data", [bytes(2000), b"the cat sat on the mat " * 100, bytes(range(128)) * 20])
def test_other_bytes_fail(data: bytes) -> None:
    assert uniformity(data).p_value < 1e-9


def test_p_values_of_uniform_bytes_are_spread_evenly() -> None:
    generator = random.Random(2)
    values = sorted(uniformity(generator.randbytes(5000)).p_value for _ in range(200))
    # Kolmogorov-Smirnov at 0.1 %: 1.95 / sqrt(200).
    assert max(abs(value - i / 200) for i, value in enumerate(values)) < 0.138


def test_too_few_bytes() -> None:
    with pytest.raises(InputError, match="16 bytes are too few"):
        uniformity(bytes(16))
