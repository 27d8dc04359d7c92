"""Any function by pieces from one opening: comparison, sign, ReLU, GeLU, tanh, reciprocal, inverse square root."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protocols.beaver.gate import Gate
from protocols.beaver.gates.borrow import shared_one
from protocols.beaver.gates.comparing import (
    compare,
    deal_bit_masks,
    deal_comparison,
    open_bits,
    opened_bits_cost,
    thresholds_cost,
)
from protocols.beaver.gates.opening import unknown
from protocols.beaver.gates.pieces import Table, factors_of, harmonics_of, table_of
from protocols.beaver.pair import Pair
from protocols.beaver.roles import Dealer, Party
from protocols.core import harmonics, local, ring, tables
from protocols.core.cost import Cost
from protocols.core.errors import ProtocolError
from protocols.core.piecewise import Piece, Piecewise


@dataclass(frozen=True, eq=False)
class EvaluatePiecewise(Gate[list[Tensor]]):
    """f(x) for one or several `Piecewise` f with the same thresholds, from a pair c = x + r that exists already.

    1. b_j = [x < t_j] for all thresholds at once, and from neighbouring b_j the indicator h of every piece that some
       function needs.
    2. Open v = h ⊕ ρ, one bit per such piece.
    3. On a piece, f is a public combination of dealer-shared functions φ of r:
           x = c - r,   cos(wx) = cos(wc) cos(wr) + sin(wc) sin(wr),   sin(wx) = sin(wc) cos(wr) - cos(wc) sin(wr);
       with [φ] and [ρφ] shared, [h φ] = v [φ] + (1 - 2v) [ρφ] is local. So is the sum over pieces.

    Shapes: any. Encoding: pair in Z_2^k with input_bits, mask dealt where a function has slopes -> shares in Z_2^bits,
    bits <= k where there are slopes, each with its `function.scale` fraction bits: output_bits or, for a later
    truncation, amplitude_bits + basis_bits.
    Cost: rounds and bits of the comparison, one round of one bit per piece; the dealer sends the comparison's
    correlations and, per piece, words of ceil(bits/8) bytes: one, one more for a slope, four for each harmonic.
    Error: function.max_error after truncation. Reveals: nothing new; all opened bits are uniform.
    Source: one opening for thresholds and function as in the project's design notes; Fourier series under additive
    masks as in SHAFT 2025 (there with several openings).
    """

    name = "piecewise"
    pair: Pair
    functions: tuple[Piecewise, ...]
    input_bits: int
    bits: int

    def _table(self) -> Table:
        first, table = self.functions[0], table_of(self.functions, self.input_bits)
        if first.compare_bits > self.pair.bits:
            raise ProtocolError(f"{first.name} compares {first.compare_bits} bits of a smaller ring")
        if table.sloped and self.pair.bits < self.bits:
            raise ProtocolError(f"{first.name} has slopes: its result is in no larger ring than its argument")
        return table

    def cost(self) -> Cost:
        table, count = self._table(), self.pair.opened.numel()
        cost = thresholds_cost(table.thresholds, count) + opened_bits_cost(len(table.chosen), count)
        return cost + Cost(dealer_bytes=table.words * count * ring.element_bytes(self.bits))

    def deal(self, dealer: Dealer) -> list[Tensor]:
        assert self.pair.mask is not None
        mask, table = self.pair.mask.reshape(-1), self._table()
        deal_comparison(dealer, self.pair, table.thresholds)
        bit_masks = deal_bit_masks(dealer, len(table.chosen), mask.numel())
        dealer.share(bit_masks, self.bits)
        if table.sloped:
            dealer.share(mask * bit_masks[tables.numbers(table.sloped, dealer.device)], self.bits)
        for function, of_function in zip(self.functions, table.sums, strict=True):
            if of_function is not None:
                of_waves = bit_masks[tables.numbers(of_function.positions, dealer.device)]
                less = tables.SCALE_BITS - function.basis_bits
                basis = harmonics.basis(mask, harmonics_of(of_function.pieces, self.input_bits), less)
                dealer.share(torch.stack([basis, basis * of_waves], 2).flatten(1, 2), self.bits)
        return [unknown(self.pair.opened.shape) for _ in self.functions]

    def evaluate(self, party: Party) -> list[Tensor]:
        opened, table = self.pair.opened.reshape(-1), self._table()
        below, _ = compare(party, self.pair, table.thresholds)
        bits = open_bits(party, _indicators(party, below)[tables.numbers(table.chosen, opened.device)], opened.numel())
        bit_masks = party.correlation((len(table.chosen), opened.numel()), self.bits)
        sloped = list(table.sloped)
        masked = party.correlation((len(sloped), opened.numel()), self.bits) if sloped else None
        mask = self.pair.mask.reshape(-1) if sloped and self.pair.mask is not None else None
        factors = tables.numbers(table.constants, opened.device), tables.numbers(table.slopes, opened.device)
        results = local.lines(opened, mask, bits, bit_masks, masked, sloped, *factors, first=party.index == 0)
        for function, of_function, result in zip(self.functions, table.sums, results, strict=True):
            if of_function is not None:
                chosen = bits[tables.numbers(of_function.positions, opened.device)]
                self._add_sums(party, function, chosen, of_function.pieces, opened, result)
        return [result.reshape(tuple(self.pair.opened.shape)) for result in results]

    def _add_sums(
        self, party: Party, function: Piecewise, bits: Tensor, pieces: tuple[Piece, ...], opened: Tensor, result: Tensor
    ) -> None:
        """result += a share of the trigonometric sum of the piece that applies. Shapes: bits [J, n], the others [n]."""
        shares = party.correlation((len(pieces[0].harmonics), 4, *bits.shape), self.bits)
        factors = factors_of(pieces, function.amplitude_bits, opened.device)
        harmonics.add_sum(result, opened, harmonics_of(pieces, self.input_bits), factors, bits, shares)


def _indicators(party: Party, below: Tensor) -> Tensor:
    """XOR shares of [t_i <= x < t_{i+1}] from shares of [x < t_j]; outermost thresholds are infinite.

    Shapes: uint8 [m, row] -> [m + 1, row].
    """
    upper = torch.cat([below, shared_one(party, below[:1])])
    upper[1:] ^= below
    return upper
