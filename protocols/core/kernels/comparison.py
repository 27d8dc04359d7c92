"""Local steps of comparisons, on bit planes: digits compared at once, and neighbouring digits merged.

`first` says whether this is the party that adds public terms. The loops are in `cpu/comparison.py` and
`card/comparison.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import bits
from secure.protocols.core.kernels.dispatch import step


@step
def leaves(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Shares of (less, equal) for every digit of c and r, as `gates.borrow` explains, on bit planes.

    Shapes: uint8 [J, digits, b, row], products of the bits of r's digits [2^b - 1, digits, row] -> two of
    [digits, J, row].
    """
    by_bit = not_c.permute(2, 1, 0, 3)  # [b, digits, J, row]
    one = torch.full_like(products[:1], share_of_ones(first=first))
    table = torch.cat([one, products]).unsqueeze(2)
    equal, less = table, torch.zeros_like(table)
    for j in range(len(by_bit)):
        with_bit = table[1 << j :: 2 << j]  # r_j times every product of the bits above j
        less = (by_bit[j] & (with_bit ^ less[0::2])) ^ less[1::2]
        equal = (by_bit[j] & equal[0::2]) ^ equal[1::2]
    return less[0], equal[0]


@step
def merge(
    opened: Tensor, masks: Tensor, shared: Tensor, highest: Tensor, *, needs_equal: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """Shares of (G, P) of neighbouring digits whose masked p and g were opened, as `gates.borrow` explains.

    opened: v of p_1, ..., p_{m-1}, before it of p_0 where P is needed; then w of g_0, ..., g_{m-2}. masks: own shares
    of theirs. shared: of the products of two or more of p's masks, in the order of their subsets; then for each g of
    its mask times every product of one or more p above it. highest: own share of g_{m-1}. P is zero where not needed.
    Shapes: uint8 [variables, ...], the same, [any, ...], [...] -> two of [...].
    """
    size, lowest = merged_digits(len(opened), needs_equal)
    (v, w), (p_masks, g_masks) = (t.split([size - lowest, size - 1]) for t in (opened, masks))
    count = 1 << (size - lowest)
    subsets = [subset for subset in range(count) if subset.bit_count() > 1]
    table = torch.full((count, *highest.shape), share_of_ones(first=first), dtype=torch.uint8, device=opened.device)
    table[[1 << i for i in range(size - lowest)]] = p_masks
    table[subsets] = shared[: len(subsets)]
    # less_i times every product of masks above i, for i = 0, 1, ...
    start, less = len(subsets), table
    for i in range(size):
        above = table[:: 1 << (i + 1 - lowest)]
        if i == size - 1:
            here = highest.unsqueeze(0)
        else:
            with_g = torch.cat([g_masks[i : i + 1], shared[start : start + len(above) - 1]])
            start += len(above) - 1
            here = (w[i] & above) ^ with_g
        less = here if i == 0 else here ^ (v[i - lowest] & less[0::2]) ^ less[1::2]
    equal = table if needs_equal else torch.zeros_like(table)
    for i in range(size if needs_equal else 0):
        equal = (v[i] & equal[0::2]) ^ equal[1::2]
    return less[0], equal[0]


@step
def merge_products(masks: Tensor, *, needs_equal: bool) -> Tensor:
    """What the dealer shares for `merge`, from all of its masks. Shapes: uint8 [variables, ...] -> [planes, ...]."""
    size, lowest = merged_digits(len(masks), needs_equal)
    p_masks, g_masks = masks.split([size - lowest, size - 1])
    table = bits.products.plain(p_masks)
    subsets = [subset for subset in range(len(table)) if subset.bit_count() > 1]
    products = [table[:: 1 << (i + 1 - lowest)][1:] & g_masks[i] for i in range(size - 1)]
    return torch.cat([table[subsets], *products])


def merged_digits(variables: int, needs_equal: bool) -> tuple[int, int]:
    """How many digits are merged where so many p and g are opened, and the lowest whose p is."""
    return (variables + 1 + (not needs_equal)) // 2, 0 if needs_equal else 1


def share_of_ones(*, first: bool) -> int:
    """A share of eight ones."""
    return 255 if first else 0
