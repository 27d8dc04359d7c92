"""Any function by pieces from one opening: comparison, sign, ReLU, GeLU, tanh, reciprocal, inverse square root."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.comparing import (
    OpenedBits,
    Thresholds,
    compare,
    deal_bit_masks,
    deal_comparison,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from protocols.beaver.gates.opening import unknown
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import bits, ring, tables
from protocols.core.cost import Cost
from protocols.core.errors import ProtocolError
from protocols.core.piecewise import Piece, Piecewise


@dataclass(frozen=True, eq=False)
class EvaluatePiecewise(Gate[Tensor]):
    """f(x) for a `Piecewise` f, from a pair c = x + r that exists already.

    1. b_j = [x < t_j] for all thresholds at once, and from neighbouring b_j the indicator h of every nonzero piece.
    2. Open v = h ⊕ ρ, one bit per nonzero piece.
    3. On a piece, f is a public combination of dealer-shared functions φ of r:
           x = c - r,   cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr),   sin(wx) = sin(wc) cos(wr) - cos(wc) sin(wr);
       with [φ] and [ρφ] shared, [h φ] = v [φ] + (1 - 2v) [ρφ] is local. So is the sum over pieces.

    Shapes: any. Encoding: pair in Z_2^k with input_bits -> share in Z_2^k with `scale` fraction bits, which is
    function.output_bits or, for a later truncation, amplitude_bits + basis_bits.
    Cost: rounds and bits of the comparison, one round of one bit per nonzero piece; the dealer sends the comparison's
    correlations and, per nonzero piece, words of ceil(k/8) bytes: one, one more for a slope, four for each harmonic.
    Error: function.max_error after truncation. Reveals: nothing new; all opened bits are uniform.
    Source: one opening for thresholds and function as in the project's design notes; Fourier series under additive
    masks as in SHAFT 2025 (there with several openings).
    """

    name = "piecewise"
    pair: Pair
    function: Piecewise
    input_bits: int

    @property
    def scale(self) -> int:
        """Fraction bits of the result."""
        function = self.function
        return function.amplitude_bits + function.basis_bits if function.trigonometric else function.output_bits

    def _thresholds(self) -> Thresholds:
        values = tuple(round(t * 2.0**self.input_bits) for t in self.function.thresholds)
        if self.function.compare_bits > self.pair.bits:
            raise ProtocolError(f"{self.function.name} compares {self.function.compare_bits} bits of a smaller ring")
        return Thresholds(values, self.function.compare_bits)

    def _pieces(self) -> list[tuple[int, Piece]]:
        return [(i, piece) for i, piece in enumerate(self.function.pieces) if piece is not None]

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        words = sum(1 + bool(piece.slope) + 4 * len(piece.harmonics) for _, piece in self._pieces())
        cost = thresholds_cost(self._thresholds(), count) + opened_bits_cost(len(self._pieces()), count)
        return cost + Cost(dealer_bytes=words * count * ring.element_bytes(self.pair.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        pieces = [piece for _, piece in self._pieces()]
        deal_comparison(dealer, mask, self._thresholds())
        bit_masks = deal_bit_masks(dealer, len(pieces), mask.numel())
        dealer.share(bit_masks, self.pair.bits)
        for j in _sloped(pieces):
            dealer.share(mask * bit_masks[j], self.pair.bits)
        waved = _waved(pieces)
        if waved:
            chosen = bit_masks[waved]
            for wave in _waves(mask, [pieces[j] for j in waved], self.input_bits):
                for part in wave:
                    rounded = tables.rounded(part, tables.SCALE_BITS - self.function.basis_bits)
                    self._deal_masked(dealer, rounded, chosen)
        return unknown(self.pair.opened.shape)

    def _deal_masked(self, dealer: Dealer, basis: Tensor, bit_mask: Tensor) -> None:
        dealer.share(basis, self.pair.bits)
        dealer.share(basis * bit_mask, self.pair.bits)

    def evaluate(self, party: Party) -> Tensor:
        opened = self.pair.opened.reshape(-1)
        pieces = [piece for _, piece in self._pieces()]
        below, _ = compare(party, opened, self._thresholds())
        indicators = torch.stack([_indicator(party, below, i) for i, _ in self._pieces()])
        chosen = open_bits(party, indicators, opened.numel())
        share = chosen.share(party.correlation((len(pieces), opened.numel()), self.pair.bits), party)
        constants = [round(piece.constant * 2.0**self.scale) for piece in pieces]
        result = (share * torch.tensor(constants, device=opened.device).unsqueeze(1)).sum(0)
        for j in _sloped(pieces):
            slope = _exact_slope(pieces[j].slope, self.scale - self.input_bits)
            assert self.pair.mask is not None
            masked = party.correlation((opened.numel(),), self.pair.bits)
            result += (share[j] * opened - chosen.at(j).times(self.pair.mask.reshape(-1), masked)) * slope
        waved = _waved(pieces)
        if waved:
            result += self._sums(party, chosen.at(waved), [pieces[j] for j in waved], opened)
        return result.reshape(tuple(self.pair.opened.shape))

    def _sums(self, party: Party, chosen: OpenedBits, pieces: list[Piece], opened: Tensor) -> Tensor:
        """A share of the trigonometric sum of the piece that applies. Shapes: J pieces, opened [n] -> [n]."""
        result = torch.zeros_like(opened)
        shape = tuple(chosen.value.shape)
        for harmonic, wave in zip(pieces[0].harmonics, _waves(opened, pieces, self.input_bits), strict=True):
            a = self._amplitudes(opened, [dict(piece.cosines).get(harmonic, 0.0) for piece in pieces])
            b = self._amplitudes(opened, [dict(piece.sines).get(harmonic, 0.0) for piece in pieces])
            shares = [party.correlation(shape, self.pair.bits) for _ in range(4)]
            tables.add_terms(result, wave, a, b, chosen.value, shares)
        return result

    def _amplitudes(self, like: Tensor, values: list[float]) -> Tensor:
        numbers = [round(value * 2.0**self.function.amplitude_bits) for value in values]
        return torch.tensor(numbers, dtype=torch.int64, device=like.device)


def _sloped(pieces: list[Piece]) -> list[int]:
    return [j for j, piece in enumerate(pieces) if piece.slope]


def _waved(pieces: list[Piece]) -> list[int]:
    return [j for j, piece in enumerate(pieces) if piece.harmonics]


def _indicator(party: Party, below: Tensor, i: int) -> Tensor:
    """XOR share of [t_i <= x < t_{i+1}] from shares of [x < t_j]; outermost thresholds are infinite."""
    upper = below[i] if i < below.shape[0] else torch.full_like(below[0], bits.ALL_ONES if party.index == 0 else 0)
    return upper ^ below[i - 1] if i > 0 else upper


def _exact_slope(slope: float, shift: int) -> int:
    scaled = math.ldexp(slope, shift)
    if scaled != int(scaled):
        raise ProtocolError(f"slope {slope} is not exact with {shift} more fraction bits")
    return int(scaled)


def _waves(x: Tensor, pieces: list[Piece], input_bits: int) -> list[tuple[Tensor, Tensor]]:
    """cos and sin of 2 pi j x / period, times 2^26, for every harmonic j, from integers only.

    A public c and a secret r go through here alike: periods are powers of two units, so reducing is exact.
    Shapes: int64 [n] -> per harmonic two of [J, n], J pieces with the same harmonics.
    """
    harmonics = pieces[0].harmonics
    if any(piece.harmonics != harmonics for piece in pieces):
        raise ProtocolError("pieces with trigonometric sums must have the same harmonics")
    exponents = [math.log2(piece.period) + input_bits for piece in pieces]
    if any(exponent != int(exponent) for exponent in exponents):
        raise ProtocolError("a period is not a power of two")
    base = tables.phasor(_angles(x, [int(exponent) for exponent in exponents]))
    # Functions that are odd about a quarter period need odd harmonics only: step by two then.
    step = 2 if all(j % 2 for j in harmonics) else 1
    stride = tables.rotate(base, base) if step == 2 and len(harmonics) > 1 else base
    waves, current = [], base
    for j in range(1, harmonics[-1] + 1, step):
        if j in harmonics:
            waves.append(current)
        if j < harmonics[-1]:
            current = tables.rotate(current, stride)
    return waves


def _angles(x: Tensor, period_bits: list[int]) -> Tensor:
    """x mod 2^period in units of 2^-24 turns. Shapes: [n] -> [J, n]."""
    periods = torch.tensor(period_bits, dtype=torch.int64, device=x.device).unsqueeze(1)
    residue = x & ((torch.ones_like(periods) << periods) - 1)
    drop = periods - tables.ANGLE_BITS
    return (residue >> drop.clamp(min=0)) << (-drop).clamp(min=0)
