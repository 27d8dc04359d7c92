"""Bits of numbers: the plain conversions, what is refused, and why comparisons do not come from all bits."""

from __future__ import annotations

import pytest
import torch

from secure.protocols.cleartext.protocol import CleartextProtocol
from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError
from secure.protocols.functions import bits
from secure.protocols.masked.comparison.digits import plan_of
from secure.protocols.masked.gates.decompose import levels
from tests.in_process import POLICY


@pytest.mark.parametrize("count", [1, 2, 31, 63, 64])
def test_to_bits_and_back(count: int) -> None:
    limit = 1 << (count - 1)
    numbers = torch.tensor([0, -1, limit - 1, -limit, limit // 3, -limit // 3])
    found = ring.to_bits(numbers, count)
    assert set(found.flatten().tolist()) <= {0, 1}
    assert torch.equal(ring.from_bits(found), numbers)


@pytest.mark.parametrize("places", [0, 1, 2, 3, 7, 8, 9, 30, 63])
def test_every_place_is_joined_with_all_below(places: int) -> None:
    reaches = [{i} for i in range(places)]
    for level in levels(places):
        joined = {high: reaches[high] | reaches[low] for high, low in zip(level.high, level.low, strict=True)}
        assert all(reaches[high].isdisjoint(reaches[low]) for high, low in zip(level.high, level.low, strict=True))
        reaches = [joined.get(i, reach) for i, reach in enumerate(reaches)]
    assert reaches == [set(range(i + 1)) for i in range(places)]


def test_one_borrow_takes_fewer_rounds_and_bits_than_all_of_them() -> None:
    wide = plan_of(31, 1, 1 << 20).levels
    assert len(wide) == 2 and len(levels(31)) == 5
    assert sum(group.variables for level in wide for group in level) < sum(t.opened_planes for t in levels(31))


@pytest.mark.parametrize("count", [0, 32])
def test_a_count_that_the_ring_does_not_hold_is_refused(count: int) -> None:
    x = CleartextProtocol(POLICY).input(torch.zeros(3, dtype=torch.int64), (3,), 16)
    with pytest.raises(ProtocolError, match=f"has 1 to 31 bits, not {count}"):
        bits.to_bits(x, count)


def test_only_bits_are_composed() -> None:
    protocol = CleartextProtocol(POLICY)
    for scale, count in ((16, 8), (0, 32)):
        x = protocol.input(torch.zeros(2, count, dtype=torch.int64), (2, count), scale)
        with pytest.raises(ProtocolError, match=f"not {count} with {scale}"):
            bits.from_bits(x, 16)
