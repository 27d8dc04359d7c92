"""Gates that compare and select in one round, in place of those that take two: the dealer sends more for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secure.protocols.core import bits as planes
from secure.protocols.core import integer_functions, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels import comparison, harmonics, powers, selection
from secure.protocols.core.piecewise import Piecewise, Smooth
from secure.protocols.core.secret import Secret
from secure.protocols.masked.comparison.at_once import Choice, Choosing, Payload
from secure.protocols.masked.comparison.borrow import bit_products, digits_of
from secure.protocols.masked.comparison.comparing import deal_bit_masks
from secure.protocols.masked.comparison.digits import Plan
from secure.protocols.masked.comparison.window import COARSE_BITS, WINDOW_BITS
from secure.protocols.masked.gates.exponential import (
    DROPPED_BITS,
    FACTOR_BITS,
    FRACTION_BITS,
    GUARD,
    PUBLIC_BITS,
    RANGE_BITS,
    RING_BITS,
    Exp2Negative,
)
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.smooth import EvaluateSmooth, least_bits
from secure.protocols.masked.protocol import Masked, dropped_bits
from secure.protocols.masked.roles import Dealer, Party

_WINDOW = Plan(8, 2, ())
_CASES = 2
_LEAVES = 4


@dataclass(frozen=True, eq=False)
class Exp2AtOnce(Exp2Negative):
    """`Exp2Negative` in one round: its window's two cases are products of two leaves each, which are opened at once.

    c and r to a quarter are cut into two digits of eight bits; the window is the lower six of the lower one. In the
    case A u + r did not wrap: the higher digits are equal (p), and so are the upper two bits of the lower digits, with
    c's lower six no smaller than r's (q); B likewise, one window further, with c's smaller. As in `at_once`, each of
    the four leaves is opened under a bit of its own, and the dealer shares 2^r times the products of those bits.
    All opened bits are uniform and independent of u, as `at_once` shows.

    Shapes, encoding, error: as `Exp2Negative`. Cost: one round of four bits; the dealer sends 510 bits and 42 bytes for
    each element. Reveals: nothing new.
    """

    name = "exp2-at-once"

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        row, words = planes.plane_bytes(count), 1 + 3 * _CASES
        return Cost(1, _LEAVES * row, _WINDOW.dealt_planes(0) * row + words * ring.element_bytes(RING_BITS) * count)

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        dealer.share_planes(bit_products(digits_of(mask, COARSE_BITS, _WINDOW, DROPPED_BITS)))
        of_p, of_q = deal_bit_masks(dealer, _LEAVES, mask.numel()).split(_CASES)
        power = powers.power_of_mask(mask, RANGE_BITS, FACTOR_BITS)
        for factor in (power.unsqueeze(0), of_p * power, of_q * power, of_p * of_q * power):
            dealer.share(factor, RING_BITS)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1) + GUARD
        count = opened.numel()
        (found,) = party.open_planes(self._leaves(party, opened))
        v_of_p, v_of_q = planes.from_planes(found, count, torch.uint8).split(_CASES)
        power = party.correlation((1, count), RING_BITS).expand(_CASES, -1)
        by_p, by_q, by_both = (party.correlation((_CASES, count), RING_BITS) for _ in range(3))
        cases = _select(v_of_p, _select(v_of_q, power, by_q), _select(v_of_q, by_p, by_both))
        # The products with 2^(-c) are those of the other gate, with cases in place of what its bits would select.
        nothing = torch.zeros((_CASES, count), dtype=torch.uint8, device=opened.device)
        exponent = GUARD - ring.low(opened, RANGE_BITS + FRACTION_BITS)
        result = powers.power_products(exponent, nothing, [cases[0], *cases], PUBLIC_BITS, RANGE_BITS)
        return result.reshape(tuple(self.pair.opened.shape))

    @staticmethod
    def _leaves(party: Party, opened: Tensor) -> Tensor:
        """Masked leaves, p of both cases and then q. Shapes: int64 [n] -> uint8 [4, row]."""
        row, first = planes.plane_bytes(opened.numel()), party.index == 0
        products = party.correlation_planes((_WINDOW.monomials, _WINDOW.digits, row))
        numbers = torch.stack([opened, opened - (1 << (DROPPED_BITS + WINDOW_BITS))])
        not_a = digits_of(numbers, COARSE_BITS, _WINDOW, DROPPED_BITS).bitwise_not_()
        # The lower digit as it is, and with the lowest and the highest number in the window's bits.
        floor, ceiling = not_a[:1, :1].clone(), not_a[1:, :1].clone()
        floor[:, :, :WINDOW_BITS], ceiling[:, :, :WINDOW_BITS] = planes.ALL_ONES, 0
        lower = torch.cat([not_a[:, :1], floor, ceiling])
        (less,), (same,) = comparison.leaves(lower, products[:, :1], first=first)
        exact_a, exact_b, floor_less, ceiling_less = less
        no_wrap = floor_less ^ same[2] ^ exact_a  # the same upper bits, and the lower ones no larger than a's
        wrap = exact_b ^ ceiling_less  # the same upper bits, and the lower ones larger
        _, (equal,) = comparison.leaves(not_a[:, 1:], products[:, 1:], first=first)
        leaves = torch.stack([*equal, no_wrap, wrap])
        return leaves ^ party.mask_planes(tuple(leaves.shape))


@dataclass(frozen=True, eq=False)
class SmoothAtOnce(EvaluateSmooth):
    """`EvaluateSmooth` in one round: its comparisons' leaves are opened together with the series.

    With b_j = [x < t_j] over the integers, the middle piece M and the upper line U,
        f - base = (b_2 - b_1) M + (1 - b_2) U = U - b_1 M + b_2 (M - U).
    M is public less φ = slope r + R and a multiple of T, as there, and U public less a multiple of r. So what is wanted
    are b_1 and b_2 times one, times T, and times φ or, for b_2, φ less U's multiple of r: the payloads of `at_once`,
    which shows that all opened bits are uniform and independent of x; the series has a mask of its own, as there.

    Shapes, encoding, error: as `EvaluateSmooth`; |x - t| < 2^(compare_bits - 1), and the pair's ring has room for the
    bits that `Choice.width` tells. Cost: one round, of the leaves' bits and a word of S's ring for each element; the
    dealer sends two words of S's ring for each harmonic, one of the result's, one of what that has more than S' had,
    and what `Choice.cost` says. Reveals: nothing new.
    """

    name = "smooth-at-once"

    @property
    def choice(self) -> Choice:
        """What is chosen: b_1 and b_2, each times one, φ and T."""
        gap = self.bits - self._kept_bits
        payloads = (Payload(j, bits) for j in range(2) for bits in (self.bits, self.bits, gap))
        return Choice(self._thresholds, tuple(payloads))

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        dealt = 2 * len(self._smooth.series.harmonics) * ring.element_bytes(self.series_bits)
        dealt += ring.element_bytes(self.bits) + ring.element_bytes(self.bits - self._kept_bits)
        opened = Cost(0, count * ring.element_bytes(self._opened_bits), count * dealt)
        return self.choice.cost(count) + opened

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask, line = self.pair.mask.reshape(-1), self._line
        less = integer_functions.SCALE_BITS - self.function.basis_bits
        dealer.share(harmonics.basis(mask, self._harmonics, less), self.series_bits)
        of_series = self._deal_series_mask(dealer, mask.numel())
        top = ring.top_bit(of_series, self._kept_bits)
        dealer.share(of_series, self.bits)
        dealer.share(top, self.bits - self._kept_bits)
        one = torch.ones_like(mask)
        middle = of_series + mask * line.middle_slope
        numbers = (one, middle, top, one, middle - mask * line.upper_slope, top)
        self.choice.deal(dealer, self.pair, numbers)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened, line, first = self.pair.opened.reshape(-1), self._line, int(party.index == 0)
        count, gap = opened.numel(), self.bits - self._kept_bits
        series = self._series(party, opened)
        series_mask = party.mask((count,), self._opened_bits)
        of_series, top = party.correlation((count,), self.bits), party.correlation((count,), gap)
        choosing = Choosing(party, self.choice, self.pair)
        (found,), (leaves,) = party.open_together([(series, series_mask, self._opened_bits)], [choosing.masked])
        mask = self.pair.mask.reshape(-1) if self.function.sloped and self.pair.mask is not None else 0
        ones = torch.full_like(opened, first)
        middle_mask, upper_mask = of_series + line.middle_slope * mask, line.upper_slope * mask
        lower = choosing.finish(leaves, (ones, middle_mask, top, ones, middle_mask - upper_mask, top))
        offset = 1 << (self._kept_bits - 2)
        shifted = ring.low(self._truncated(found) + offset, self._kept_bits)
        wrapped = (1 - ring.top_bit(shifted, self._kept_bits)) << self._kept_bits
        middle = line.middle_constant + line.middle_slope * opened + shifted - offset
        upper = line.upper_constant + line.upper_slope * opened
        result = first * upper - upper_mask
        result -= middle * lower[0] - lower[1] + wrapped * lower[2]
        result += (middle - upper) * lower[3] - lower[4] + wrapped * lower[5]
        return result.reshape(tuple(self.pair.opened.shape))


def _select(bit: Tensor, shared: Tensor, masked: Tensor) -> Tensor:
    """`selection.select` of several rows. Shapes: uint8 and int64 [K, n] -> [K, n]."""
    return selection.select(bit.reshape(-1), shared.reshape(-1), masked.reshape(-1)).reshape(masked.shape)


def evaluate_smooth(masked: Masked, x: Secret, function: Piecewise, smooth: Smooth) -> Secret:
    """A function with a `smooth` form. The truncation of its series is part of the gate, unless it must be exact."""
    shift = 0 if masked.policy.truncation == "exact" else function.scale - function.output_bits
    scale = function.scale - shift
    pair = masked.pair(x, least_bits(function, smooth, scale), dealt=function.sloped)
    usual = EvaluateSmooth(pair, function, x.fraction_bits, pair.bits, shift, masked.profile)
    usual = replace(usual, dropped=dropped_bits(masked, usual.series_bits, shift))
    share = masked.run(_smooth_at_once(masked, usual) or usual)
    found = masked.result(share, pair.bits, scale, function.output_bits)
    return masked.plus_public(found, masked.public(smooth.base, found.fraction_bits))


def _smooth_at_once(masked: Masked, usual: EvaluateSmooth) -> SmoothAtOnce | None:
    """The gate that takes a round less, where that is worth its bytes and the ring has room for it."""
    gate = SmoothAtOnce(
        usual.pair, usual.function, usual.input_bits, usual.bits, usual.shift, usual.profile, usual.dropped
    )
    if usual.pair.bits - gate.choice.thresholds.dropped < gate.choice.width:
        return None
    return gate if is_worth(masked, gate.cost(), usual.cost()) else None


def exponentiate(masked: Masked, u: Secret) -> Secret:
    """`exp2_negative` by one of its gates."""
    if u.fraction_bits != FRACTION_BITS:
        raise ProtocolError(f"exp2_negative takes {FRACTION_BITS} fraction bits")
    pair = masked.pair(u, ring.HALF_WORD_BITS, dealt=False)
    usual, at_once = Exp2Negative(pair), Exp2AtOnce(pair)
    share = masked.run(at_once if is_worth(masked, at_once.cost(), usual.cost()) else usual)
    return masked.result(share, RING_BITS, Exp2Negative.SCALE, u.fraction_bits)


def is_worth(masked: Masked, at_once: Cost, usual: Cost) -> bool:
    """Whether the rounds that are saved are worth what the dealer sends for it."""
    return masked.profile.worth(at_once.dealer_bytes - usual.dealer_bytes, usual.rounds - at_once.rounds)
