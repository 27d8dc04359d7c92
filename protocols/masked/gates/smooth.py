"""Functions that are smooth between two thresholds and straight outside, from one opening: GeLU, SiLU, tanh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secure.protocols.core import bits as planes
from secure.protocols.core import integer_functions, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels import harmonics, selection
from secure.protocols.core.kernels.selection import Straight
from secure.protocols.core.piecewise import Piecewise, Smooth
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.masked.comparison.comparing import (
    Thresholds,
    compare,
    deal_bit_masks,
    deal_comparison,
    indicators,
    opened_bits_cost,
    thresholds_cost,
)
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.pieces import exact_slope, factors_of, harmonics_of, thresholds_of
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


def least_bits(function: Piecewise, smooth: Smooth, scale: int) -> int:
    """The ring that such a function takes with a result at that scale: of its argument, and of the result."""
    return max(function.compare_bits, scale + max(function.integer_bits, smooth.series_integer_bits + 1) + 2)


@dataclass(frozen=True, eq=False)
class EvaluateSmooth(Gate[Tensor]):
    """f(x) - base for an f with a `Piecewise.smooth` form, from a pair c = x + r that exists already.

    1. S(x), the constant and the trigonometric sum of the middle piece, everywhere: it has a period, so c and r modulo
       that do, and the result is small. cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr), the dealer shares cosines and
       sines of wr. Meanwhile b_j = [x < t_j] for both thresholds, and from them the indicators h_1, h_2 of the middle
       and the upper piece.
    2. In one round open v_k = h_k ⊕ ρ_k and S + s in its small ring, without `dropped` low bits, as `OpeningGate` says.
       Both halves shifted right are a pair c', R of S truncated, as in `Pair.shift_right`, and in the result's ring, as
       in `Lift`,
           S' = c' - R + 2^k (1 - msb(c')) T    up to public offsets, T = msb(R).
    3. The middle piece, a line and S', is public less φ = slope r + R and a multiple of T. With ρ_1, φ, ρ_1 φ, T and
       ρ_1 T shared, [h_1 w] = v_1 [w] + (1 - 2 v_1) [ρ_1 w] is local; likewise the upper line, with ρ_2 and ρ_2 r.

    Shapes: any. Encoding: pair in Z_2^k with input_bits, mask dealt where a piece has a slope -> share in Z_2^bits,
    bits <= k where one has, with function.scale - shift fraction bits.
    Cost: rounds and bits of the comparison, then one round of two bits and a word of S's ring for each element; the
    dealer sends the comparison's correlations, two words of S's ring for each harmonic, four or five words of the
    result's, and two of what that has more than S' had.
    Error: function.max_error, once truncated to output_bits. Reveals: nothing new; all that is opened is uniform.
    Source: Fourier series under additive masks as in SHAFT 2025; one opening for thresholds and series as in the
    project's design notes.
    """

    name = "smooth"
    pair: Pair
    function: Piecewise
    input_bits: int
    bits: int
    shift: int
    profile: Profile = NEAR
    dropped: int = 0

    @cached_property
    def _smooth(self) -> Smooth:
        smooth = self.function.smooth
        if smooth is None:
            raise ProtocolError(f"{self.function.name} is not smooth between two thresholds and straight outside")
        if self.function.compare_bits > self.pair.bits:
            raise ProtocolError(f"{self.function.name} compares {self.function.compare_bits} bits of a smaller ring")
        if self.function.sloped and self.pair.bits < self.bits:
            raise ProtocolError(f"{self.function.name} has slopes: its result is in no larger ring than its argument")
        return smooth

    @property
    def _thresholds(self) -> Thresholds:
        return thresholds_of(self.function, self.input_bits, self.profile)

    @property
    def _harmonics(self) -> harmonics.Harmonics:
        return harmonics_of((self._smooth.series,), self.input_bits)

    @property
    def series_bits(self) -> int:
        """The ring of S."""
        return self.function.scale + self._smooth.series_integer_bits + 2

    @property
    def _opened_bits(self) -> int:
        """The ring in which it is opened."""
        return self.series_bits - self.dropped

    @property
    def _kept_bits(self) -> int:
        """The ring of S once it is truncated."""
        return self.series_bits - self.shift

    @property
    def _line(self) -> Straight:
        """Both lines, in fixed point at the result's scale."""
        scale, (middle, upper) = self.function.scale - self.shift, self._smooth.lines
        slopes = (exact_slope(piece.slope, scale - self.input_bits) for piece in (middle, upper))
        return Straight(*(round(piece.constant * 2.0**scale) for piece in (middle, upper)), *slopes)

    def cost(self) -> Cost:
        count, thresholds = self.pair.opened.numel(), self._thresholds
        words = 4 + (self._line.upper_slope != 0)
        dealt = 2 * len(self._smooth.series.harmonics) * ring.element_bytes(self.series_bits)
        dealt += words * ring.element_bytes(self.bits) + 2 * ring.element_bytes(self.bits - self._kept_bits)
        opened = Cost(online_bytes=count * ring.element_bytes(self._opened_bits), dealer_bytes=count * dealt)
        return thresholds_cost(thresholds, count) + opened_bits_cost(2, count) + opened

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask, line = self.pair.mask.reshape(-1), self._line
        less = integer_functions.SCALE_BITS - self.function.basis_bits
        dealer.share(harmonics.basis(mask, self._harmonics, less), self.series_bits)
        deal_comparison(dealer, self.pair, self._thresholds)
        bit_masks = deal_bit_masks(dealer, 2, mask.numel())
        of_series = self._deal_series_mask(dealer, mask.numel())
        top = ring.top_bit(of_series, self._kept_bits)
        of_middle = of_series + mask * line.middle_slope if line.middle_slope else of_series
        dealer.share(bit_masks, self.bits)
        for word in (of_series, of_middle * bit_masks[0]):
            dealer.share(word, self.bits)
        for word in (top, top * bit_masks[0]):
            dealer.share(word, self.bits - self._kept_bits)
        if line.upper_slope:
            dealer.share(mask * bit_masks[1], self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened, line = self.pair.opened.reshape(-1), self._line
        count = opened.numel()
        series = self._series(party, opened)
        below, _ = compare(party, self.pair, self._thresholds)
        chosen = indicators(party, below)[1:]
        chosen ^= party.mask_planes(tuple(chosen.shape))
        (found,), (bits,) = party.open_together(
            [(series, party.mask((count,), self._opened_bits), self._opened_bits)], [chosen]
        )
        bit_masks = party.correlation((2, count), self.bits)
        of_series, masked = (party.correlation((count,), self.bits) for _ in range(2))
        top, masked_top = (party.correlation((count,), self.bits - self._kept_bits, short=True) for _ in range(2))
        result = selection.smooth(
            opened,
            self.pair.mask.reshape(-1) if self.function.sloped and self.pair.mask is not None else None,
            self._truncated(found),
            planes.from_planes(bits, count, torch.uint8),
            bit_masks,
            (of_series, masked, top, masked_top),
            party.correlation((count,), self.bits) if line.upper_slope else None,
            line,
            self._kept_bits,
            first=party.index == 0,
        )
        return result.reshape(tuple(self.pair.opened.shape))

    def _deal_series_mask(self, dealer: Dealer, count: int) -> Tensor:
        """R, of the mask that S is opened under. Shapes: -> int64 [count]."""
        mask = dealer.mask((count,), self._opened_bits)
        return ring.shift_right(mask - 1 if self.dropped else mask, self.shift - self.dropped, self._opened_bits)

    def _truncated(self, opened: Tensor) -> Tensor:
        """c' of what was opened. Shapes: int64 [n] -> [n]."""
        return selection.shift_opened(opened, self.shift - self.dropped, self._opened_bits)

    def _series(self, party: Party, opened: Tensor) -> Tensor:
        """A share of S, as it is opened. Shapes: int64 [n] -> [n]."""
        piece = self._smooth.series
        constant = round(piece.constant * 2.0**self.function.scale) if party.index == 0 else 0
        result = torch.full_like(opened, constant)
        shares = party.correlation((len(piece.harmonics), 2, 1, opened.numel()), self.series_bits, short=True)
        factors = factors_of((piece,), self.function.amplitude_bits, opened.device)
        no_choice = torch.zeros((1, opened.numel()), dtype=torch.uint8, device=opened.device)
        harmonics.add_sum(result, opened, self._harmonics, factors, no_choice, shares)
        return ring.shift_right(result, self.dropped, self.series_bits) if self.dropped else result
