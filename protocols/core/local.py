"""Local steps of gates that would take torch many passes over memory: one compiled loop each.

As in `ring`, `bits` and `harmonics`, there is a loop for the CPU, one for graphics cards, and a plain torch reference
where their compiler is missing. `first` says whether this is the party that adds public terms. Bits are 0 / 1 in uint8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secure.protocols.core import bits as planes_of
from secure.protocols.core import integer_functions, ring, transfer
from secure.protocols.core.kernels import card, cpu


def select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """A share of b w = v w + (1 - 2 v) ρ w, b = v ⊕ ρ, from shares of w and ρ w. Shapes: bit uint8, int64, all [n]."""
    if card.serve(shared.device):
        return card.select(bit, shared, masked)
    if not cpu.serve(shared.device):
        return select_reference(bit, shared, masked)
    return torch.from_numpy(cpu.select(bit.numpy(), shared.numpy(), masked.numpy()))


def select_reference(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """`select` in plain torch."""
    return torch.where(bit.to(torch.bool), shared - masked, masked)


def shift_opened(opened: Tensor, shift: int, bits: int) -> Tensor:
    """c' >> shift less what the offset became, for c' = c + 2^(bits - 2) in Z_2^bits: see `Pair.shift_right`.

    Shapes: int64 any -> same.
    """
    if card.serve(opened.device):
        return card.shift_opened(opened, shift, bits)
    if not cpu.serve(opened.device):
        return shift_opened_reference(opened, shift, bits)
    return torch.from_numpy(cpu.shift_opened(opened.reshape(-1).numpy(), shift, bits)).reshape(opened.shape)


def shift_opened_reference(opened: Tensor, shift: int, bits: int) -> Tensor:
    """`shift_opened` in plain torch."""
    offset = 1 << (bits - 2)
    return ring.shift_right(opened + offset, shift, bits) - (offset >> shift)


def lift(opened: Tensor, mask: Tensor, mask_top: Tensor, bits: int, *, first: bool) -> Tensor:
    """A share of x from c = x + r in Z_2^bits and shares of r and of its top bit, as `gates.lift` explains.

    Shapes: int64 any, all the same.
    """
    if card.serve(opened.device):
        return card.lift(opened, mask, mask_top, bits, first=first)
    if not cpu.serve(opened.device):
        return lift_reference(opened, mask, mask_top, bits, first=first)
    c, r, top = (t.reshape(-1).contiguous().numpy() for t in (opened, mask, mask_top))
    return torch.from_numpy(cpu.lift(c, r, top, bits, first)).reshape(opened.shape)


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
    """A share of sum_k b_k (constants[k] + slopes[k] x), x = opened - mask, b_k = v_k ⊕ ρ_k.

    bits are the v_k, bit_masks shares of ρ_k; masked[j] is a share of ρ_k r for the k = sloped[j] that have slopes.
    Without slopes mask and masked may be None.
    Shapes: opened, mask int64 [n]; masked int64 [S, n]; bits uint8, bit_masks int64 [K, n]; constants, slopes int64
    [K] -> int64 [n].
    """
    if not (card.serve(opened.device) or cpu.serve(opened.device)):
        return lines_reference(opened, mask, bits, bit_masks, masked, sloped, constants, slopes, first=first)
    # Without slopes neither is read.
    arrays = opened if mask is None else mask, bits, bit_masks, bit_masks if masked is None else masked
    place = [sloped.index(k) if k in sloped else -1 for k in range(len(bits))]
    if card.serve(opened.device):
        places = integer_functions.numbers(tuple(place), opened.device)
        return card.lines(opened, *arrays, places, constants, slopes, first=first)
    own, value, own_bits, products = (t.contiguous().numpy() for t in arrays)
    factors = constants.numpy(), slopes.numpy()
    return torch.from_numpy(cpu.lines(opened.numpy(), own, value, own_bits, products, place, *factors, first))


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
    result = (shares * constants.unsqueeze(-1)).sum(0)
    for j, k in enumerate(sloped):
        assert mask is not None and masked is not None
        product = masked[j]
        line = shares[k] * opened - select_reference(bits[k], mask, product)
        result += line * slopes[k]
    return result


class Straight(NamedTuple):
    """Two lines in fixed point."""

    middle_constant: int
    upper_constant: int
    middle_slope: int
    upper_slope: int


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
    # Where a slope is zero, whatever stands in for what it multiplies.
    own, above = (opened if missing is None else missing for missing in (mask, of_upper))
    if card.serve(opened.device):
        return card.smooth(opened, own, series, bits, bit_masks, of_middle, above, lines, series_bits, first=first)
    if not cpu.serve(opened.device):
        return smooth_reference(opened, own, series, bits, bit_masks, of_middle, above, lines, series_bits, first=first)
    arrays = opened, own, series, bits, bit_masks, *of_middle, above
    return torch.from_numpy(cpu.smooth(*(t.contiguous().numpy() for t in arrays), *lines, series_bits, int(first)))


def smooth_reference(
    opened: Tensor,
    mask: Tensor,
    series: Tensor,
    bits: Tensor,
    bit_masks: Tensor,
    of_middle: tuple[Tensor, Tensor, Tensor, Tensor],
    of_upper: Tensor,
    lines: Straight,
    series_bits: int,
    *,
    first: bool,
) -> Tensor:
    """`smooth` in plain torch."""
    remainder, masked, top, masked_top = of_middle
    offset = 1 << (series_bits - 2)
    shifted = ring.low(series + offset, series_bits)
    wrapped = (1 - ring.top_bit(shifted, series_bits)) << series_bits
    middle = lines.middle_constant + lines.middle_slope * opened + shifted - offset
    upper = lines.upper_constant + lines.upper_slope * opened
    of_first = int(first)
    middle_share = of_first * middle - lines.middle_slope * mask - remainder + wrapped * top
    upper_share = of_first * upper - lines.upper_slope * mask
    masked_middle = middle * bit_masks[0] - masked + wrapped * masked_top
    masked_upper = upper * bit_masks[1] - lines.upper_slope * of_upper
    return select_reference(bits[0], middle_share, masked_middle) + select_reference(bits[1], upper_share, masked_upper)


def power_of_mask(mask: Tensor, range_bits: int, factor_bits: int) -> Tensor:
    """2^r with factor_bits fraction bits, for r mod 2^range_bits with 16 fraction bits. Shapes: int64 [n] -> [n]."""
    if not cpu.serve(mask.device):
        return power_of_mask_reference(mask, range_bits, factor_bits)
    drop = integer_functions.SCALE_BITS - factor_bits
    return torch.from_numpy(cpu.power_of_mask(mask.numpy(), *_powers(), integer_functions.SCALE_BITS, range_bits, drop))


def power_of_mask_reference(mask: Tensor, range_bits: int, factor_bits: int) -> Tensor:
    """`power_of_mask` in plain torch."""
    fraction = integer_functions.power_of_two(ring.low(mask, integer_functions.FRACTION_BITS))
    whole = ring.low(mask >> integer_functions.FRACTION_BITS, range_bits)
    return integer_functions.rounded(fraction << whole, integer_functions.SCALE_BITS - factor_bits)


def power_products(negative: Tensor, bits: Tensor, shares: list[Tensor], public_bits: int, range_bits: int) -> Tensor:
    """A share of (b_0 + b_1 2^(-2^range_bits)) 2^e 2^r, b_k = v_k ⊕ ρ_k, as `gates.exponential` explains.

    negative: e <= 1 with 16 fraction bits; 2^e is taken with public_bits fraction bits. bits: the v_k, 0 / 1 in uint8.
    shares: of 2^r, ρ_0 2^r and ρ_1 2^r. Shapes: int64 [n], bits [2, n].
    """
    if card.serve(negative.device):
        power_tables = integer_functions.powers(negative.device)
        return card.power_products(
            negative, bits, shares, power_tables, integer_functions.SCALE_BITS, public_bits, 1 << range_bits
        )
    if not cpu.serve(negative.device):
        return power_products_reference(negative, bits, shares, public_bits, range_bits)
    arrays = (t.contiguous().numpy() for t in (negative, bits, *shares))
    up = public_bits - integer_functions.SCALE_BITS
    return torch.from_numpy(cpu.power_products(*arrays, *_powers(), integer_functions.SCALE_BITS, up, 1 << range_bits))


def power_products_reference(
    negative: Tensor, bits: Tensor, shares: list[Tensor], public_bits: int, range_bits: int
) -> Tensor:
    """`power_products` in plain torch."""
    power, *masked = shares
    here, wrapped = (select_reference(bit, power, product) for bit, product in zip(bits, masked, strict=True))
    fraction = integer_functions.power_of_two(ring.low(negative, integer_functions.FRACTION_BITS))
    up = (negative >> integer_functions.FRACTION_BITS) + public_bits - integer_functions.SCALE_BITS
    return _shifted(fraction, up) * here + _shifted(fraction, up - (1 << range_bits)) * wrapped


def _powers() -> tuple[cpu.Array, cpu.Array]:
    """`tables.powers` for loops on the CPU."""
    coarse, fine = integer_functions.powers(transfer.CPU)
    return coarse.numpy(), fine.numpy()


def _shifted(x: Tensor, up: Tensor) -> Tensor:
    """x 2^up, rounded where that is no integer."""
    return (((x << 1) >> (-up).clamp(min=0)) + 1 >> 1) << up.clamp(min=0)


def leaves(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Shares of (less, equal) for every digit of c and r, as `gates.borrow` explains, on bit planes.

    Shapes: uint8 [J, digits, b, row], products of the bits of r's digits [2^b - 1, digits, row] -> two of
    [digits, J, row].
    """
    if card.serve(products.device):
        return card.leaves(not_c, products, first=first)
    if not cpu.serve(products.device):
        return leaves_reference(not_c, products, first=first)
    less, equal = cpu.leaves(not_c.contiguous().numpy(), products.contiguous().numpy(), _one(first=first))
    return torch.from_numpy(less), torch.from_numpy(equal)


def leaves_reference(not_c: Tensor, products: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """`leaves` in plain torch."""
    by_bit = not_c.permute(2, 1, 0, 3)  # [b, digits, J, row]
    one = torch.full_like(products[:1], _one(first=first))
    table = torch.cat([one, products]).unsqueeze(2)
    equal, less = table, torch.zeros_like(table)
    for j in range(len(by_bit)):
        with_bit = table[1 << j :: 2 << j]  # r_j times every product of the bits above j
        less = (by_bit[j] & (with_bit ^ less[0::2])) ^ less[1::2]
        equal = (by_bit[j] & equal[0::2]) ^ equal[1::2]
    return less[0], equal[0]


def merge(
    opened: Tensor, masks: Tensor, shared: Tensor, highest: Tensor, *, needs_equal: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """Shares of (G, P) of neighbouring digits whose masked p and g were opened, as `gates.borrow` explains.

    opened: v of p_1, ..., p_{m-1}, before it of p_0 where P is needed; then w of g_0, ..., g_{m-2}. masks: own shares
    of theirs. shared: of the products of two or more of p's masks, in the order of their subsets; then for each g of
    its mask times every product of one or more p above it. highest: own share of g_{m-1}. P is zero where not needed.
    Shapes: uint8 [variables, ...], the same, [any, ...], [...] -> two of [...].
    """
    if card.serve(opened.device):
        return card.merge(opened, masks, shared, highest, *_merged(len(opened), needs_equal), first=first)
    if not cpu.serve(opened.device):
        return merge_reference(opened, masks, shared, highest, needs_equal=needs_equal, first=first)
    count = highest.numel()
    flat = (t.reshape(-1, count).numpy() for t in (opened, masks, shared, highest))
    less, equal = cpu.merge(*flat, needs_equal=needs_equal, one=_one(first=first))
    return torch.from_numpy(less).reshape(highest.shape), torch.from_numpy(equal).reshape(highest.shape)


def merge_reference(
    opened: Tensor, masks: Tensor, shared: Tensor, highest: Tensor, *, needs_equal: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """`merge` in plain torch."""
    size, lowest = _merged(len(opened), needs_equal)
    (v, w), (p_masks, g_masks) = (t.split([size - lowest, size - 1]) for t in (opened, masks))
    count = 1 << (size - lowest)
    subsets = [subset for subset in range(count) if subset.bit_count() > 1]
    table = torch.full((count, *highest.shape), _one(first=first), dtype=torch.uint8, device=opened.device)
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


def merge_products(masks: Tensor, *, needs_equal: bool) -> Tensor:
    """What the dealer shares for `merge`, from all of its masks. Shapes: uint8 [variables, ...] -> [planes, ...]."""
    size, lowest = _merged(len(masks), needs_equal)
    if card.serve(masks.device):
        return card.merge_products(masks, size, lowest)
    p_masks, g_masks = masks.split([size - lowest, size - 1])
    table = planes_of.products(p_masks)
    subsets = [subset for subset in range(len(table)) if subset.bit_count() > 1]
    products = [table[:: 1 << (i + 1 - lowest)][1:] & g_masks[i] for i in range(size - 1)]
    return torch.cat([table[subsets], *products])


def _merged(variables: int, needs_equal: bool) -> tuple[int, int]:
    """How many digits are merged where so many p and g are opened, and the lowest whose p is."""
    return (variables + 1 + (not needs_equal)) // 2, 0 if needs_equal else 1


def pairs_of(count: int) -> list[tuple[int, int]]:
    """All pairs of `count` numbers, in the order in which they are compared: (0, 1), (0, 2), ..., (1, 2), ..."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def positions(count: int, i: int) -> list[int]:
    """Where the pairs that number i of `count` is in stand in `pairs_of`; the other number of each ascends."""
    pairs = pairs_of(count)
    return [pairs.index((min(i, j), max(i, j))) for j in range(count) if j != i]


def largest(
    opened: Tensor, masks: Tensor, bits: Tensor, bit_masks: Tensor, several: Tensor, masked: Tensor, *, first: bool
) -> Tensor:
    """A share of the largest of k numbers x = opened - mask, as `gates.largest` explains.

    bits: opened v of every pair; bit_masks: shares of the ρ. several: for each number, of the products of two or more
    of the ρ of its pairs, in the order of their subsets; masked: of all but the empty one times r.
    Shapes: int64 [k, n] twice, uint8 [P, n], int64 [P, n], [k, 2^(k-1) - k, n], [k, 2^(k-1) - 1, n] -> [n].
    """
    if not cpu.serve(opened.device):
        return largest_reference(opened, masks, bits, bit_masks, several, masked, first=first)
    arrays = (t.numpy() for t in (opened, masks, bits, bit_masks, several, masked))
    places = [positions(len(opened), i) for i in range(len(opened))]
    return torch.from_numpy(cpu.largest(*arrays, places=places, first=first))


def largest_reference(
    opened: Tensor, masks: Tensor, bits: Tensor, bit_masks: Tensor, several: Tensor, masked: Tensor, *, first: bool
) -> Tensor:
    """`largest` in plain torch."""
    count = len(opened)
    subsets = [subset for subset in range(1 << (count - 1)) if subset.bit_count() > 1]
    total = torch.zeros_like(opened[0])
    for i in range(count):
        places = positions(count, i)
        chosen = torch.full((1 << (count - 1), opened.shape[1]), int(first), dtype=torch.int64, device=opened.device)
        chosen[[1 << k for k in range(count - 1)]] = bit_masks[places]
        chosen[subsets] = several[i]
        with_mask = torch.cat([masks[i : i + 1], masked[i]])
        for k, place in enumerate(places):
            bit = bits[place] if k < i else 1 - bits[place]
            chosen, with_mask = (select_reference(bit, t[0::2], t[1::2]) for t in (chosen, with_mask))
        total += opened[i] * chosen[0] - with_mask[0]
    return total


def _one(*, first: bool) -> int:
    """A share of eight ones."""
    return 255 if first else 0
