"""Whether a number lies in a window [0, 2^k), and where its opening wrapped around in there: what exponentials ask.

A coarse number D = a - b mod 2^16 has a public a and a mask b of which the dealer shares bits. With w = [a < b] on the
low k bits, D is in the window when a's high part, less w, equals b's:
    A = [a_high = b_high] (1 - w),    B = [a_high - 1 = b_high] w,
one of the two where D is in the window, neither where it is not.

Digits are those of `borrow`, leaves are local. Where the window ends within a digit, its lower part tells w and its
upper part is compared with; both at once is less, or equal, of digits whose lower part is replaced by its end. With
g of the lowest digit, each of A and B is then a chain p_3 p_2 (g_1 + p_1 g_0) as `borrow` merges it, in one round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secure.protocols.core import bits
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import comparison
from secure.protocols.masked.comparison.borrow import bit_products, deal_merge, digits_of, merge_level
from secure.protocols.masked.comparison.digits import DIGIT_BITS, Group, Plan
from secure.protocols.masked.roles import Dealer, Party

COARSE_BITS = 16
WINDOW_BITS = 6
_DIGITS = COARSE_BITS // DIGIT_BITS
_LOWER = WINDOW_BITS % DIGIT_BITS  # bits of the second digit that belong to the window
MERGED = Group(_DIGITS, needs_equal=False)
PLAN = Plan(DIGIT_BITS, _DIGITS, ((MERGED,),))
CASES = 2


def window_cost(elements: int) -> Cost:
    """Cost of `window`."""
    row = bits.plane_bytes(elements)
    return Cost(1, online_bytes=PLAN.opened_planes(CASES) * row, dealer_bytes=PLAN.dealt_planes(CASES) * row)


def deal_window(dealer: Dealer, mask: Tensor, lowest: int) -> None:
    """The dealer's side of `window`. Shapes: mask int64 [n]."""
    dealer.share_planes(bit_products(digits_of(mask, COARSE_BITS, PLAN, lowest)))
    deal_merge(dealer, MERGED, CASES, mask.numel())


def window(party: Party, opened: Tensor, lowest: int) -> Tensor:
    """XOR shares of A and B for the 16 bits of c and r from bit `lowest` on. Shapes: c int64 [n] -> uint8 [2, row]."""
    row = bits.plane_bytes(opened.numel())
    products = party.correlation_planes((PLAN.monomials, _DIGITS, row))
    numbers = torch.stack([opened, opened - (1 << (lowest + WINDOW_BITS))])
    not_a = digits_of(numbers, COARSE_BITS, PLAN, lowest).bitwise_not_()

    def leaves(not_c: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """(less, equal) of digits from `first` on. Shapes: [J, digits, 4, row] -> two of [digits, J, row]."""
        digits = slice(first, first + not_c.shape[1])
        return comparison.leaves(not_c, products[:, digits], first=party.index == 0)

    lowest_less, _ = leaves(not_a[:1, :1], 0)
    # At the window's end: the digit as it is, and with the lowest and the highest number in its lower part.
    floor, ceiling = not_a[:, 1:2].clone(), not_a[:, 1:2].clone()
    floor[:, :, :_LOWER], ceiling[:, :, :_LOWER] = bits.ALL_ONES, 0
    (less,), (equal,) = leaves(torch.cat([not_a[:, 1:2], floor, ceiling]), 1)
    (exact, floor_less, ceiling_less), (same, at_floor, _) = (t.reshape(3, CASES, row) for t in (less, equal))
    within = torch.stack(
        [
            floor_less[0] ^ at_floor[0] ^ exact[0],  # the same upper part, and the lower one no larger than a's
            exact[1] ^ ceiling_less[1],  # the same upper part, and the lower one larger
        ]
    )
    _, upper_equal = leaves(not_a[:, 2:], 2)
    zero = torch.zeros_like(within)
    less = torch.stack([lowest_less[0].expand(CASES, row), within, *[zero] * (_DIGITS - 2)])
    equal = torch.cat([zero.unsqueeze(0), same.unsqueeze(0), upper_equal])
    ((merged, _),) = merge_level(party, [(less, equal)], [(MERGED,)])
    return merged[0]
