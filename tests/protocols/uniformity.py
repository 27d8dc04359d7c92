"""Whether bytes are uniform, as far as their histogram tells."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

P_VALUE = 1e-9
"""A uniform source fails one test in a thousand million; there are a few hundred tests."""

ENOUGH_BYTES = 100_000


def p_value(data: bytes | NDArray[np.uint8]) -> float:
    """Chi-square over the 256 byte values: the probability that uniform bytes look at least as uneven."""
    values = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
    assert values.size >= ENOUGH_BYTES
    due = values.size / 256
    statistic = float((((np.bincount(values, minlength=256) - due) ** 2) / due).sum())
    return float(torch.special.gammaincc(torch.tensor(255 / 2, dtype=torch.float64), torch.tensor(statistic / 2)))


def assert_uniform(data: bytes, element_bytes: int, what: str) -> None:
    """As a whole, and each byte of an element by itself where there are enough: the top one has unused bits."""
    values = np.frombuffer(data, dtype=np.uint8)
    assert p_value(values) > P_VALUE, what
    if values.size % element_bytes == 0 and values.size >= ENOUGH_BYTES * element_bytes:
        for i in range(element_bytes):
            assert p_value(values[i::element_bytes].copy()) > P_VALUE, f"{what}: byte {i} of each element"


def length_for_enough(count: int, sent: int) -> int:
    """As many elements as send ENOUGH_BYTES where `count` send `sent`; their bits fill whole bytes."""
    return 8 * -(-count * ENOUGH_BYTES // (8 * sent))
