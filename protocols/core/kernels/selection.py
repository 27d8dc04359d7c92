"""Local steps of gates on opened numbers: shifts, lifts, and what opened bits select of shares.

torch alone takes many passes over memory for each; the loops in `cpu/selection.py` and `card/selection.py` take one.
`first` says whether this is the party that adds public terms. Bits are 0 / 1 in uint8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.kernels.dispatch import step


@step
def select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """A share of b w = v w + (1 - 2 v) ρ w, b = v ⊕ ρ, from shares of w and ρ w. Shapes: bit uint8, int64, all [n]."""
    return torch.where(bit.to(torch.bool), shared - masked, masked)


@step
def shift_opened(opened: Tensor, shift: int, bits: int) -> Tensor:
    """c' >> shift less what the offset became, for c' = c + 2^(bits - 2) in Z_2^bits: see `Pair.shift_right`.

    Shapes: int64 any -> same.
    """
    offset = 1 << (bits - 2)
    return ring.shift_right.plain(opened + offset, shift, bits) - (offset >> shift)


@step
def lift(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """A share of x from c = x + r in Z_2^bits and shares of r and of its top bit, as `gates.lift` explains.

    Shapes: int64 any, all the same.
    """
    offset = 1 << (bits - 2)
    shifted = ring.low(opened + offset, bits)
    share = ((1 - (shifted >> bits - 1)) * mask_top << bits) - mask
    return share + (shifted - offset) if first else share


@step
def lines(
    opened: Tensor,
    mask: Tensor | None,
    bits: Tensor,
    bit_masks: Tensor,
    masked: Tensor | None,
    sloped: list[int],
    constants: Tensor,
    slopes: Tensor,
    *,
    first: bool,
) -> Tensor:
    """A share of sum_k b_k (constants[k] + slopes[k] x), x = opened - mask, b_k = v_k ⊕ ρ_k.

    bits are the v_k, bit_masks shares of ρ_k; masked[j] is a share of ρ_k r for the k = sloped[j] that have slopes.
    Without slopes mask and masked may be None.
    Shapes: opened, mask int64 [n]; masked int64 [S, n]; bits uint8, bit_masks int64 [K, n]; constants, slopes int64
    [K] -> int64 [n].
    """
    shares = select.plain(bits, torch.full_like(bit_masks, int(first)), bit_masks)
    result = (shares * constants.unsqueeze(-1)).sum(0)
    for j, k in enumerate(sloped):
        assert mask is not None and masked is not None
        product = masked[j]
        line = shares[k] * opened - select.plain(bits[k], mask, product)
        result += line * slopes[k]
    return result


def places_of(sloped: list[int], count: int) -> tuple[int, ...]:
    """The position of each of `count` pieces among those with slopes, or -1."""
    return tuple(sloped.index(k) if k in sloped else -1 for k in range(count))


class Straight(NamedTuple):
    """Two lines in fixed point."""

    middle_constant: int
    upper_constant: int
    middle_slope: int
    upper_slope: int


@step
def smooth(
    opened: Tensor,
    mask: Tensor | None,
    series: Tensor,
    bits: Tensor,
    bit_masks: Tensor,
    of_middle: tuple[Tensor, Tensor, Tensor, Tensor],
    of_upper: Tensor | None,
    lines: Straight,
    series_bits: int,
    *,
    first: bool,
) -> Tensor:
    """A share of b_0 (line_0(x) + S) + b_1 line_1(x), x = opened - mask, b_k = v_k ⊕ ρ_k, as `gates.smooth` explains.

    series is c of the pair c, R of S in Z_2^series_bits. bits are the v_k, bit_masks shares of ρ_k; of_middle shares of
    R, ρ_0 (slope r + R), T and ρ_0 T; of_upper one of ρ_1 r. Without slopes mask and of_upper may be None.
    Shapes: int64 [n], but bits uint8 [2, n], bit_masks [2, n].
    """
    mask, of_upper = (opened if missing is None else missing for missing in (mask, of_upper))  # times a slope of zero
    remainder, masked, top, masked_top = of_middle
    offset = 1 << (series_bits - 2)
    shifted = ring.low(series + offset, series_bits)
    wrapped = (1 - (shifted >> series_bits - 1)) << series_bits
    middle = lines.middle_constant + lines.middle_slope * opened + shifted - offset
    upper = lines.upper_constant + lines.upper_slope * opened
    of_first = int(first)
    middle_share = of_first * middle - lines.middle_slope * mask - remainder + wrapped * top
    upper_share = of_first * upper - lines.upper_slope * mask
    masked_middle = middle * bit_masks[0] - masked + wrapped * masked_top
    masked_upper = upper * bit_masks[1] - lines.upper_slope * of_upper
    return select.plain(bits[0], middle_share, masked_middle) + select.plain(bits[1], upper_share, masked_upper)


def pairs_of(count: int) -> list[tuple[int, int]]:
    """All pairs of `count` numbers, in the order in which they are compared: (0, 1), (0, 2), ..., (1, 2), ..."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def positions(count: int, i: int) -> list[int]:
    """Where the pairs that number i of `count` is in stand in `pairs_of`; the other number of each ascends."""
    pairs = pairs_of(count)
    return [pairs.index((min(i, j), max(i, j))) for j in range(count) if j != i]


@step
def largest(
    opened: Tensor, masks: Tensor, bits: Tensor, bit_masks: Tensor, several: Tensor, masked: Tensor, *, first: bool
) -> Tensor:
    """A share of the largest of k numbers x = opened - mask, as `gates.largest` explains.

    bits: opened v of every pair; bit_masks: shares of the ρ. several: for each number but the last one, of the products
    of two or more of the ρ of its pairs, in the order of their subsets; masked: of all but the empty one, times its r
    less the last one's.
    Shapes: int64 [k, n] twice, uint8 [P, n], int64 [P, n], [k - 1, 2^(k-1) - k, n], [k - 1, 2^(k-1) - 1, n] -> [n].
    """
    count = len(opened)
    subsets = [subset for subset in range(1 << (count - 1)) if subset.bit_count() > 1]
    total = int(first) * opened[-1] - masks[-1]
    for i in range(count - 1):
        places = positions(count, i)
        chosen = torch.full((1 << (count - 1), opened.shape[1]), int(first), dtype=torch.int64, device=opened.device)
        chosen[[1 << k for k in range(count - 1)]] = bit_masks[places]
        chosen[subsets] = several[i]
        with_mask = torch.cat([masks[i : i + 1] - masks[-1:], masked[i]])
        for k, place in enumerate(places):
            bit = bits[place] if k < i else 1 - bits[place]
            chosen, with_mask = (select.plain(bit, t[0::2], t[1::2]) for t in (chosen, with_mask))
        total += (opened[i] - opened[-1]) * chosen[0] - with_mask[0]
    return total
