"""Local steps of gates that would take torch many passes over memory: one compiled loop each.

As in `ring`, `bits` and `tables`, each has a plain torch reference for every other device. `first` says whether
this is the party that adds public terms. Bits are 0 / 1 in uint8.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protocols.core import kernels, ring, tables

_DIGIT_BITS = 4


def select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """A share of b w = v w + (1 - 2 v) ρ w, b = v ⊕ ρ, from shares of w and ρ w. Shapes: bit uint8, int64, all [n]."""
    if not kernels.serve(shared.device):
        return select_reference(bit, shared, masked)
    return torch.from_numpy(kernels.select(bit.numpy(), shared.numpy(), masked.numpy()))


def select_reference(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """`select` in plain torch."""
    return torch.where(bit.to(torch.bool), shared - masked, masked)


def shift_opened(opened: Tensor, shift: int, bits: int) -> Tensor:
    """c' >> shift less what the offset became, for c' = c + 2^(bits - 2) in Z_2^bits: see `Pair.shift_right`.

    Shapes: int64 any -> same.
    """
    if not kernels.serve(opened.device):
        return shift_opened_reference(opened, shift, bits)
    return torch.from_numpy(kernels.shift_opened(opened.reshape(-1).numpy(), shift, bits)).reshape(opened.shape)


def shift_opened_reference(opened: Tensor, shift: int, bits: int) -> Tensor:
    """`shift_opened` in plain torch."""
    offset = 1 << (bits - 2)
    return ring.shift_right(opened + offset, shift, bits) - (offset >> shift)


def lift(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """A share of x from c = x + r in Z_2^bits and shares of r and of its top bit, as `gates.lift` explains.

    Shapes: int64 any, all the same.
    """
    if not kernels.serve(opened.device):
        return lift_reference(opened, mask, mask_top, bits, first=first)
    c, r, top = (t.reshape(-1).contiguous().numpy() for t in (opened, mask, mask_top))
    return torch.from_numpy(kernels.lift(c, r, top, bits, first)).reshape(opened.shape)


def lift_reference(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """`lift` in plain torch."""
    offset = 1 << (bits - 2)
    shifted = ring.low(opened + offset, bits)
    share = ((1 - ring.top_bit(shifted, bits)) * mask_top << bits) - mask
    return share + (shifted - offset) if first else share


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
    """Shares of sum_k b_k (constants[f, k] + slopes[f, k] x) for every f, x = opened - mask, b_k = v_k ⊕ ρ_k.

    bits are the v_k, bit_masks shares of ρ_k; masked[j] is a share of ρ_k r for the k = sloped[j] that have slopes.
    Without slopes mask and masked may be None.
    Shapes: opened, mask int64 [n]; masked int64 [S, n]; bits uint8, bit_masks int64 [K, n]; constants, slopes int64
    [F, K] -> int64 [F, n].
    """
    if not kernels.serve(opened.device):
        return lines_reference(opened, mask, bits, bit_masks, masked, sloped, constants, slopes, first=first)
    # Without slopes neither is read.
    arrays = opened if mask is None else mask, bits, bit_masks, bit_masks if masked is None else masked
    own, value, own_bits, products = (t.contiguous().numpy() for t in arrays)
    place = [sloped.index(k) if k in sloped else -1 for k in range(len(bits))]
    factors = constants.numpy(), slopes.numpy()
    return torch.from_numpy(kernels.lines(opened.numpy(), own, value, own_bits, products, place, *factors, first))


def lines_reference(
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
    """`lines` in plain torch."""
    shares = select_reference(bits, torch.full_like(bit_masks, int(first)), bit_masks)
    results = (shares.unsqueeze(0) * constants.unsqueeze(-1)).sum(1)
    for j, k in enumerate(sloped):
        assert mask is not None and masked is not None
        product = masked[j]
        line = shares[k] * opened - select_reference(bits[k], mask, product)
        results += line * slopes[:, k : k + 1]
    return results


def power_products(
    negative: Tensor, small: Tensor, wrapped: Tensor, shares: list[Tensor], public_bits: int, range_bits: int
) -> Tensor:
    """A share of s 2^(e - w 2^range_bits) 2^r for two bits s and w, as `gates.exponential` explains.

    negative: e <= 1 with 16 fraction bits; 2^e is taken with public_bits fraction bits. shares: of 2^r, σ 2^r, ω 2^r
    and σω 2^r. Shapes: int64 [n], bits uint8 [n].
    """
    fraction = tables.power_of_two(ring.low(negative, tables.FRACTION_BITS))
    if not kernels.serve(negative.device):
        return power_products_reference(negative, fraction, small, wrapped, shares, public_bits, range_bits)
    up = public_bits - tables.SCALE_BITS
    arrays = negative, fraction, small, wrapped, *shares
    found = kernels.power_products(*(t.numpy() for t in arrays), up, tables.FRACTION_BITS, 1 << range_bits)
    return torch.from_numpy(found)


def power_products_reference(
    negative: Tensor,
    fraction: Tensor,
    small: Tensor,
    wrapped: Tensor,
    shares: list[Tensor],
    public_bits: int,
    range_bits: int,
) -> Tensor:
    """`power_products` in plain torch."""
    power, by_small, by_wrapped, by_both = shares
    kept = select_reference(small, power, by_small)
    both = select_reference(wrapped, kept, select_reference(small, by_wrapped, by_both))
    up = (negative >> tables.FRACTION_BITS) + public_bits - tables.SCALE_BITS
    public, public_wrapped = _shifted(fraction, up), _shifted(fraction, up - (1 << range_bits))
    return public * kept + (public_wrapped - public) * both


def _shifted(x: Tensor, up: Tensor) -> Tensor:
    """x 2^up, rounded where that is no integer."""
    return (((x << 1) >> (-up).clamp(min=0)) + 1 >> 1) << up.clamp(min=0)


def leaves(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Shares of (less, equal) for every digit of c and r, as `gates.borrow` explains, on bit planes.

    Shapes: uint8 [J, digits, 4, row], products of the bits of r's digits [15, digits, row] -> two of [digits, J, row].
    """
    if not kernels.serve(products.device):
        return leaves_reference(not_c, products, first=first)
    less, equal = kernels.leaves(not_c.contiguous().numpy(), products.contiguous().numpy(), 255 if first else 0)
    return torch.from_numpy(less), torch.from_numpy(equal)


def leaves_reference(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """`leaves` in plain torch."""
    by_bit = not_c.permute(2, 1, 0, 3)  # [4, digits, J, row]
    one = torch.full_like(products[:1], 255 if first else 0)
    table = torch.cat([one, products]).unsqueeze(2)
    equal, less = table, torch.zeros_like(table)
    for j in range(_DIGIT_BITS):
        with_bit = table[1 << j :: 2 << j]  # r_j times every product of the bits above j
        less = (by_bit[j] & (with_bit ^ less[0::2])) ^ less[1::2]
        equal = (by_bit[j] & equal[0::2]) ^ equal[1::2]
    return less[0], equal[0]
