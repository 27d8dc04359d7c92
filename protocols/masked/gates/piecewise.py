"""Any function by pieces from one opening: comparison, sign, ReLU, GeLU, tanh, reciprocal, inverse square root."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels import harmonics, selection
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.core.secret import Primitive, Reference, Secret
from secure.protocols.masked.comparison.comparing import (
    compare,
    deal_bit_masks,
    deal_comparison,
    indicators,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.pieces import Table, factors_of, harmonics_of, table_of
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True, eq=False)
class EvaluatePiecewise(Gate[Tensor]):
    """f(x) for a `Piecewise` f, from a pair c = x + r that exists already.

    1. b_j = [x < t_j] for all thresholds at once, and from neighbouring b_j the indicator h of every piece that is not
       zero.
    2. Open v = h ⊕ ρ, one bit per such piece.
    3. On a piece, f is a public combination of dealer-shared functions φ of r:
           x = c - r,   cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr),   sin(wx) = sin(wc) cos(wr) - cos(wc) sin(wr);
       with [φ] and [ρφ] shared, [h φ] = v [φ] + (1 - 2v) [ρφ] is local. So is the sum over pieces.

    Shapes: any. Encoding: pair in Z_2^k with input_bits, mask dealt where f has slopes -> share in Z_2^bits, bits <= k
    where there are slopes, with function.scale fraction bits: output_bits or, for a later truncation, amplitude_bits +
    basis_bits.
    Cost: rounds and bits of the comparison, one round of one bit per piece; the dealer sends the comparison's
    correlations and, per piece, words of ceil(bits/8) bytes: one, one more for a slope, four for each harmonic.
    Error: function.max_error after truncation. Reveals: nothing new; all opened bits are uniform.
    Source: one opening for thresholds and function as in the project's design notes; Fourier series under additive
    masks as in SHAFT 2025 (there with several openings).
    """

    name = "piecewise"
    pair: Pair
    function: Piecewise
    input_bits: int
    bits: int
    profile: Profile = NEAR

    def _table(self) -> Table:
        function, table = self.function, table_of(self.function, self.input_bits, self.profile)
        if function.compare_bits > self.pair.bits:
            raise ProtocolError(f"{function.name} compares {function.compare_bits} bits of a smaller ring")
        if table.sloped and self.pair.bits < self.bits:
            raise ProtocolError(f"{function.name} has slopes: its result is in no larger ring than its argument")
        return table

    def cost(self) -> Cost:
        table, count = self._table(), self.pair.opened.numel()
        cost = thresholds_cost(table.thresholds, count) + opened_bits_cost(len(table.chosen), count)
        return cost + Cost(dealer_bytes=table.words * count * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask, table = self.pair.mask.reshape(-1), self._table()
        deal_comparison(dealer, self.pair, table.thresholds)
        bit_masks = deal_bit_masks(dealer, len(table.chosen), mask.numel())
        dealer.share(bit_masks, self.bits)
        if table.sloped:
            dealer.share(mask * bit_masks[integer_functions.numbers(table.sloped, dealer.device)], self.bits)
        if table.waved:
            of_waves = bit_masks[integer_functions.numbers(table.waved, dealer.device)]
            less = integer_functions.SCALE_BITS - self.function.basis_bits
            basis = harmonics.basis(mask, harmonics_of(table.waves, self.input_bits), less)
            dealer.share(torch.stack([basis, basis * of_waves], 2).flatten(1, 2), self.bits)
        return self.outline()

    def outline(self) -> Tensor:
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened, table = self.pair.opened.reshape(-1), self._table()
        below, _ = compare(party, self.pair, table.thresholds)
        bits = open_bits(
            party, indicators(party, below)[integer_functions.numbers(table.chosen, opened.device)], opened.numel()
        )
        bit_masks = party.correlation((len(table.chosen), opened.numel()), self.bits)
        sloped = list(table.sloped)
        masked = party.correlation((len(sloped), opened.numel()), self.bits) if sloped else None
        mask = self.pair.mask.reshape(-1) if sloped and self.pair.mask is not None else None
        factors = (
            integer_functions.numbers(table.constants, opened.device),
            integer_functions.numbers(table.slopes, opened.device),
        )
        result = selection.lines(opened, mask, bits, bit_masks, masked, sloped, *factors, first=party.index == 0)
        if table.waved:
            chosen = bits[integer_functions.numbers(table.waved, opened.device)]
            shares = party.correlation((len(table.waves[0].harmonics), 4, *chosen.shape), self.bits)
            amplitudes = factors_of(table.waves, self.function.amplitude_bits, opened.device)
            waves = harmonics_of(table.waves, self.input_bits)
            harmonics.add_sum(result, opened, waves, amplitudes, chosen, shares)
        return result.reshape(tuple(self.pair.opened.shape))


@Primitive
def piecewise(clear: Reference, x: Secret, function: Piecewise) -> Secret:
    """A function of one variable, elementwise."""
    function.check_scale(x.fraction_bits)
    value = clear.value(x)
    low, high = function.domain
    if value.numel() and not (float(value.min()) >= low and float(value.max()) <= high):
        clear.refuse(f"{function.name} takes {low:g} to {high:g}, got {float(value.min()):g} to {float(value.max()):g}")
    return clear.secret(function.reference(value), function.output_bits)
