"""Do bytes look uniform? Pearson's chi-square test over the 256 values of a byte."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from secure.protocols.core.errors import InputError

_VALUES = 256
_LEAST_EXPECTED = 5


@dataclass(frozen=True)
class Uniformity:
    """count: bytes tested. chi_square: with 255 degrees of freedom, about 255 ± 23 for uniform bytes.

    p_value: how often uniform bytes give a chi-square this large or larger. Uniform bytes give every p-value equally
    often; for bytes that are not uniform it is practically 0.
    """

    count: int
    chi_square: float
    p_value: float


def uniformity(data: bytes) -> Uniformity:
    """Test `data`. Raises InputError for fewer than 1280 bytes, where the test means nothing."""
    if len(data) < _LEAST_EXPECTED * _VALUES:
        raise InputError(f"{len(data)} bytes are too few for this test; it needs {_LEAST_EXPECTED * _VALUES}")
    counts = torch.bincount(torch.frombuffer(bytearray(data), dtype=torch.uint8).to(torch.int64), minlength=_VALUES)
    expected = len(data) / _VALUES
    chi_square = float(((counts.to(torch.float64) - expected) ** 2 / expected).sum())
    # The upper tail of the chi-square distribution with d degrees of freedom is Q(d / 2, x / 2).
    half = torch.tensor([(_VALUES - 1) / 2, chi_square / 2], dtype=torch.float64)
    return Uniformity(len(data), chi_square, float(torch.special.gammaincc(half[0], half[1])))
