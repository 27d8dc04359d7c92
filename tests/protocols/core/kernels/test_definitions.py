"""Local steps of gates against what they are defined to be. `test_steps` compares their forms with one another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secure.protocols.core import integer_functions
from secure.protocols.core.kernels import comparison, harmonics, selection
from secure.protocols.masked.comparison.digits import Group
from tests.protocols.core.kernels.calls import HARMONICS, bits_of, bytes_of
from tests.protocols.core.test_ring import random_words


def test_harmonics_are_those_of_the_angle() -> None:
    """Against floating point: multiples of an angle that is reduced, with and without bits below a turn's 2^-24."""
    x = random_words(500, seed=3)
    for name, found in HARMONICS.items():
        basis = harmonics.basis(x, found, 0).double() / 2**integer_functions.SCALE_BITS
        for j, (mask, _, _) in enumerate(found.periods):
            turn = 2 * torch.pi * ((x & mask).double() / (mask + 1))
            for row, number in enumerate(found.numbers):
                for side, function in enumerate((torch.cos, torch.sin)):
                    # Every rotation adds the error of the first; bits below 2^-24 turns are dropped.
                    error = (basis[row, side, j] - function(number * turn)).abs().max()
                    assert float(error) < number * 5e-7, name


@pytest.mark.parametrize("count", [1, 17, 1001])
def test_select(count: int) -> None:
    bit, shared, masked = bits_of(count, seed=1), random_words(count, seed=2), random_words(count, seed=3)
    found = selection.select(bit, shared, masked)
    assert torch.equal(found, bit * shared + (1 - 2 * bit.to(torch.int64)) * masked)


@pytest.mark.parametrize("needs_equal", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_merge_products(size: int, needs_equal: bool) -> None:
    """Products of two or more masks of p; then, of each g, its mask times every product of masks of p above it."""
    group = Group(size, needs_equal)
    masks = bytes_of(group.variables, 2, 9, seed=1)
    p_masks = dict(zip(range(group.lowest_p, size), masks, strict=False))
    of_g = masks[len(p_masks) :]
    due = [product for chosen, product in subsets_of(p_masks) if len(chosen) > 1]
    for i in range(size - 1):
        above = {k: mask for k, mask in p_masks.items() if k > i}
        due += [product & of_g[i] for chosen, product in subsets_of(above) if chosen]
    assert torch.equal(comparison.merge_products(masks, needs_equal=needs_equal), torch.stack(due))
    assert len(due) == group.shared_planes


def subsets_of(planes: dict[int, Tensor]) -> list[tuple[list[int], Tensor]]:
    """Every subset with its product, in the order of subsets as numbers."""
    found = []
    for subset in range(1 << len(planes)):
        chosen = [k for place, k in enumerate(sorted(planes)) if subset >> place & 1]
        product = torch.full((2, 9), 255, dtype=torch.uint8)
        for k in chosen:
            product = product & planes[k]
        found.append((chosen, product))
    return found
