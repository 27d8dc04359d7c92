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
    correlations and, per nonzero piece, 1 + 2 φ words of ceil(k/8) bytes.
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
        words = sum(1 + 2 * _basis_size(piece) for _, piece in self._pieces())
        cost = thresholds_cost(self._thresholds(), count) + opened_bits_cost(len(self._pieces()), count)
        return cost + Cost(dealer_bytes=words * count * ring.element_bytes(self.pair.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask = self.pair.mask.reshape(-1)
        pieces = self._pieces()
        deal_comparison(dealer, mask, self._thresholds())
        bit_masks = deal_bit_masks(dealer, len(pieces), mask.numel())
        for (_, piece), bit_mask in zip(pieces, bit_masks, strict=True):
            dealer.share(bit_mask, self.pair.bits)
            if piece.slope:
                _deal_masked(dealer, mask, bit_mask, self.pair.bits)
            for wave in _waves(mask, piece, self.input_bits):
                for part in wave:
                    rounded = tables.rounded(part, tables.SCALE_BITS - self.function.basis_bits)
                    _deal_masked(dealer, rounded, bit_mask, self.pair.bits)
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        shape = tuple(self.pair.opened.shape)
        opened = self.pair.opened.reshape(-1)
        pieces = self._pieces()
        below, _ = compare(party, opened, self._thresholds())
        indicators = torch.stack([_indicator(party, below, i) for i, _ in pieces])
        chosen = open_bits(party, indicators, opened.numel())
        result = torch.zeros_like(opened)
        for j, (_, piece) in enumerate(pieces):
            result += self._piece(party, chosen, j, piece, opened)
        return result.reshape(shape)

    def _piece(self, party: Party, chosen: OpenedBits, j: int, piece: Piece, opened: Tensor) -> Tensor:
        """A share of h_j times the piece's value."""
        shape, bits_ = (opened.numel(),), self.pair.bits
        indicator = chosen.share(j, party.correlation(shape, bits_), party)
        constant = round(piece.constant * 2.0**self.scale)
        result = indicator * constant
        if piece.slope:
            slope = _exact_slope(piece.slope, self.scale - self.input_bits)
            result += (indicator * opened - self._masked(party, chosen, j, shape)) * slope
        if piece.harmonics:
            cosines, sines = dict(piece.cosines), dict(piece.sines)
            for harmonic, (cos, sin) in zip(piece.harmonics, _waves(opened, piece, self.input_bits), strict=True):
                a, b = self._amplitude(cosines.get(harmonic, 0.0)), self._amplitude(sines.get(harmonic, 0.0))
                result += tables.rounded(a * cos + b * sin, tables.SCALE_BITS) * self._masked(party, chosen, j, shape)
                result += tables.rounded(a * sin - b * cos, tables.SCALE_BITS) * self._masked(party, chosen, j, shape)
        return result

    def _masked(self, party: Party, chosen: OpenedBits, j: int, shape: tuple[int, ...]) -> Tensor:
        """A share of h_j φ for the dealer's next φ."""
        shared = party.correlation(shape, self.pair.bits)
        return chosen.times(j, shared, party.correlation(shape, self.pair.bits))

    def _amplitude(self, value: float) -> int:
        return round(value * 2.0**self.function.amplitude_bits)


def _basis_size(piece: Piece) -> int:
    return (1 if piece.slope else 0) + 2 * len(piece.harmonics)


def _deal_masked(dealer: Dealer, basis: Tensor, bit_mask: Tensor, ring_bits: int) -> None:
    dealer.share(basis, ring_bits)
    dealer.share(basis * bit_mask, ring_bits)


def _indicator(party: Party, below: Tensor, i: int) -> Tensor:
    """XOR share of [t_i <= x < t_{i+1}] from shares of [x < t_j]; outermost thresholds are infinite."""
    upper = below[i] if i < below.shape[0] else torch.full_like(below[0], bits.ALL_ONES if party.index == 0 else 0)
    return upper ^ below[i - 1] if i > 0 else upper


def _exact_slope(slope: float, shift: int) -> int:
    scaled = math.ldexp(slope, shift)
    if scaled != int(scaled):
        raise ProtocolError(f"slope {slope} is not exact with {shift} more fraction bits")
    return int(scaled)


def _waves(x: Tensor, piece: Piece, input_bits: int) -> list[tuple[Tensor, Tensor]]:
    """cos and sin of 2 pi j x / period for every harmonic j of the piece, times 2^26, from integers only.

    A public c and a secret r go through here alike: the period is 2^p units, so reducing mod 2^p is exact.
    """
    if not piece.harmonics:
        return []
    exponent = math.log2(piece.period) + input_bits
    period_bits = int(exponent)
    if exponent != period_bits:
        raise ProtocolError(f"period {piece.period} is not a power of two")
    residue = ring.low(x, period_bits)
    drop = period_bits - tables.ANGLE_BITS
    base = tables.phasor(residue >> drop if drop > 0 else residue << -drop)
    # Odd functions of a half period need odd harmonics only: step by two then.
    step = 2 if all(j % 2 for j in piece.harmonics) else 1
    stride = tables.rotate(base, base) if step == 2 and len(piece.harmonics) > 1 else base
    waves, current = [], base
    for j in range(1, piece.harmonics[-1] + 1, step):
        if j in piece.harmonics:
            waves.append(current)
        if j < piece.harmonics[-1]:
            current = tables.rotate(current, stride)
    return waves
