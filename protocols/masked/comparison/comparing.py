"""From XOR-shared comparison bits to arithmetic: what the gates with thresholds have in common."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import bits, integer_functions
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.masked.comparison.borrow import borrows, deal_borrows, shared_one
from secure.protocols.masked.comparison.digits import BorrowCost
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True)
class Thresholds:
    """[x < t_j] for public t_j, from one opening c = x + r in Z_2^k; |x - t_j| < 2^(width - 1).

    x - t is negative when the top bit of (c - t) - r in Z_2^width is set: that bit is
    borrow ⊕ msb(c - t) ⊕ msb(r), where the borrow comes from the width - 1 lower bits.

    With `dropped` low bits left out, all of this is about x' = x >> dropped or one more, t a multiple of 2^dropped and
    |x' - t'| < 2^(width - 1): fewer digits, and bits that may be wrong for x within 2^dropped of a threshold.

    profile: what a round is worth where digits are merged.
    """

    values: tuple[int, ...]
    width: int
    dropped: int = 0
    profile: Profile = NEAR

    def __post_init__(self) -> None:
        if any(value % (1 << self.dropped) for value in self.values):
            raise ProtocolError(f"a threshold is finer than what a comparison without {self.dropped} bits can tell")

    @property
    def job(self) -> tuple[int, int]:
        """This comparison as a job of `borrows`."""
        return self.width - 1, len(self.values)

    def seen(self, pair: Pair, *, at_dealer: bool) -> Pair:
        """The part of an opening that is compared, flat."""
        return pair.map(lambda t: t.reshape(-1)).shift_right(self.dropped, at_dealer=at_dealer)

    def deal_sign(self, dealer: Dealer, mask: Tensor) -> None:
        """Share msb(r). Shapes: mask int64 [n]."""
        dealer.share_planes(bits.to_planes(mask, 1, self.width - 1))

    def shifted(self, opened: Tensor) -> Tensor:
        """c - t_j. Shapes: int64 [n] -> [J, n]."""
        offsets = integer_functions.numbers(tuple(t >> self.dropped for t in self.values), opened.device)
        return opened.unsqueeze(0) - offsets.unsqueeze(1)

    def signs(self, party: Party, shifted: Tensor, borrow: Tensor, mask_sign: Tensor) -> Tensor:
        """XOR shares of [x < t_j]. Shapes: borrow uint8 [J, row] -> same."""
        signs = borrow ^ mask_sign
        if party.index == 0:
            signs = signs ^ bits.to_planes(shifted, 1, self.width - 1).squeeze(-2)
        return signs


Job = tuple[int, int]


def thresholds_cost(thresholds: Thresholds, elements: int, other_jobs: tuple[Job, ...] = ()) -> Cost:
    """Cost of the comparison without the opening of its bits."""
    borrow = BorrowCost((thresholds.job, *other_jobs), elements, thresholds.profile)
    return Cost(borrow.rounds, borrow.online_bytes, borrow.dealer_bytes + bits.plane_bytes(elements))


def deal_comparison(
    dealer: Dealer, pair: Pair, thresholds: Thresholds, others: tuple[tuple[Job, Tensor], ...] = ()
) -> None:
    """The dealer's side of `compare`; `others` are jobs with their masks, int64 [n]."""
    mask = thresholds.seen(pair, at_dealer=True).mask
    assert mask is not None
    thresholds.deal_sign(dealer, mask)
    jobs = thresholds.job, *(job for job, _ in others)
    deal_borrows(dealer, jobs, (mask, *(other for _, other in others)), thresholds.profile)


def compare(
    party: Party, pair: Pair, thresholds: Thresholds, others: tuple[tuple[int, Tensor], ...] = ()
) -> tuple[Tensor, list[Tensor]]:
    """XOR shares of [x < t_j], and of the borrows of other jobs (width, c), c int64 [J, n]."""
    opened = thresholds.seen(pair, at_dealer=False).opened
    mask_sign = party.correlation_planes((1, bits.plane_bytes(opened.numel())))
    shifted = thresholds.shifted(opened)
    first, *rest = borrows(party, [(thresholds.width - 1, shifted), *others], thresholds.profile)
    return thresholds.signs(party, shifted, first, mask_sign), rest


def indicators(party: Party, below: Tensor) -> Tensor:
    """XOR shares of [t_i <= x < t_{i+1}] from shares of [x < t_j]; outermost thresholds are infinite.

    Shapes: uint8 [m, row] -> [m + 1, row].
    """
    upper = torch.cat([below, shared_one(party, below[:1])])
    upper[1:] ^= below
    return upper


def opened_bits_cost(count: int, elements: int) -> Cost:
    """One round of `count` bits per element."""
    return Cost(rounds=1, online_bytes=count * bits.plane_bytes(elements))


def deal_bit_masks(dealer: Dealer, count: int, elements: int) -> Tensor:
    """ρ for `open_bits`, as 0 / 1. Shapes: -> int64 [count, elements]."""
    return bits.from_planes(dealer.mask_planes((count, bits.plane_bytes(elements))), elements)


def open_bits(party: Party, shares: Tensor, elements: int) -> Tensor:
    """Open v = b ⊕ ρ. Then b w = v w + (1 - 2 v) ρ w for anything w whose [w] and [ρ w] are shared: `selection.select`.

    Shapes: XOR shares uint8 [count, row] -> 0 / 1 in uint8 [count, elements].
    """
    (value,) = party.open_planes(shares ^ party.mask_planes(tuple(shares.shape)))
    return bits.from_planes(value, elements, torch.uint8)
