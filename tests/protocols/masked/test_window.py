"""The window of exponentials: every difference in and around it, with masks of all kinds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core import bits, ring
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.comparison.window import COARSE_BITS, WINDOW_BITS, deal_window, window, window_cost
from secure.protocols.masked.roles import Dealer
from tests.in_process import run_roles
from tests.protocols.core.test_ring import random_words

_SIZE = 1 << COARSE_BITS


def found(opened: Tensor, mask: Tensor, lowest: int) -> Tensor:
    """A and B as 0 / 1. Shapes: int64 [n] twice -> [2, n]."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        role = protocol.role
        role.begin_gate()
        with role.meter.gate("", "window", window_cost(mask.numel())):
            if isinstance(role, Dealer):
                deal_window(role, mask, lowest)
                return mask
            return window(role, opened, lowest)

    (first, second), meters, _ = run_roles(program, [])
    assert meters["p1"].total == window_cost(mask.numel())
    return bits.from_planes(first ^ second, mask.numel())


def expected(opened: Tensor, mask: Tensor, lowest: int) -> Tensor:
    a, b = (ring.low(t >> lowest, COARSE_BITS) for t in (opened, mask))
    inside = ring.low(a - b, COARSE_BITS) < 1 << WINDOW_BITS
    wrapped = ring.low(a, WINDOW_BITS) < ring.low(b, WINDOW_BITS)
    return torch.stack([inside & ~wrapped, inside & wrapped]).to(torch.int64)


@pytest.mark.parametrize("lowest", [0, 14])
@pytest.mark.parametrize(
    "difference", [0, 1, 3, 15, 16, 31, 32, 62, 63, 64, 65, 127, 128, 1 << 10, _SIZE - 64, _SIZE - 1]
)
def test_a_difference(difference: int, lowest: int) -> None:
    """With a mask of every residue of the window and of its digits, and of bits above and below at random."""
    mask = torch.cat([torch.arange(1 << 10) << lowest, random_words(1001, seed=difference)])
    below = ring.low(random_words(mask.numel(), seed=1), lowest) if lowest else torch.zeros_like(mask)
    opened = ((mask >> lowest) + difference << lowest) + below
    assert torch.equal(found(opened, mask, lowest), expected(opened, mask, lowest))


def test_any_numbers() -> None:
    opened, mask = random_words(2, 100_003, seed=5)
    assert torch.equal(found(opened, mask, 14), expected(opened, mask, 14))
    near = mask + ring.low(opened, 21)
    assert torch.equal(found(near, mask, 14), expected(near, mask, 14))


def test_one_number() -> None:
    opened, mask = torch.tensor([5 << 14]), torch.tensor([2 << 14])
    assert found(opened, mask, 14).flatten().tolist() == [1, 0]
