"""Any function by pieces in one round, in place of two: the dealer sends more for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secure.protocols.core import integer_functions, ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.kernels import harmonics
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import Secret
from secure.protocols.masked.comparison.at_once import Choice, Choosing, Payload
from secure.protocols.masked.gates.chosen import evaluate_smooth, is_worth
from secure.protocols.masked.gates.opening import unknown
from secure.protocols.masked.gates.pieces import factors_of, harmonics_of
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.protocol import Masked
from secure.protocols.masked.roles import Dealer, Party


@dataclass(frozen=True)
class _Place:
    """A piece, and the thresholds above and below it; None where there is none, as it goes on for ever."""

    piece: int
    above: int | None
    below: int | None

    @property
    def thresholds(self) -> list[int]:
        """Those that there are."""
        return [j for j in (self.above, self.below) if j is not None]


@dataclass(frozen=True, eq=False)
class PiecewiseAtOnce(EvaluatePiecewise):
    """`EvaluatePiecewise` in one round: a piece's indicator is the difference of two comparisons, which are linear.

    With b_j = [x < t_j] over the integers, the indicator of the piece between t_{j-1} and t_j is b_j - b_{j-1}; of the
    lowest one b_0, of the highest one 1 - b_{J-1}. So with each φ that a piece has of r (one, r for a slope, cosines
    and sines of its multiples of r), h φ = b_j φ - b_{j-1} φ, and these are the products of `at_once`: what is opened
    are leaves of comparisons under bits of their own, which `at_once` shows to be uniform and independent of x. The
    rest is as there: on each piece f is a public combination, by functions of c, of the φ.

    Shapes, encoding, error: as `EvaluatePiecewise`; |x - t| < 2^(compare_bits - 1), and the pair's ring has room for
    the bits that `Choice.width` tells. Cost: one round, of the leaves' bits; the dealer sends two words for each
    harmonic of each piece and element, and what `Choice.cost` says. Reveals: nothing new.
    """

    name = "piecewise-at-once"

    @cached_property
    def _places(self) -> list[_Place]:
        """Where the table's pieces are."""
        table, last = self._table(), len(self.function.thresholds)
        return [_Place(i, i if i < last else None, i - 1 if i > 0 else None) for i in table.chosen]

    @cached_property
    def _sloped(self) -> list[_Place]:
        return [self._places[k] for k in self._table().sloped]

    @cached_property
    def _waved(self) -> list[_Place]:
        return [self._places[k] for k in self._table().waved]

    @property
    def _sides(self) -> int:
        """How many cosines and sines of r each piece with a trigonometric sum has."""
        waves = self._table().waves
        return 2 * len(waves[0].harmonics) if waves else 0

    @cached_property
    def choice(self) -> Choice:
        """What is chosen: one for each threshold; then, for each that a piece with them has, r, cosines and sines."""
        due = list(range(len(self.function.thresholds)))
        due += [j for place in self._sloped for j in place.thresholds]
        due += [j for place in self._waved for j in place.thresholds for _ in range(self._sides)]
        return Choice(self._table().thresholds, tuple(Payload(j, self.bits) for j in due))

    def cost(self) -> Cost:
        count = self.pair.opened.numel()
        words = self._sides * len(self._waved)
        return self.choice.cost(count) + Cost(dealer_bytes=words * count * ring.element_bytes(self.bits))

    def _numbers(self, one: Tensor, mask: Tensor | None, basis: Tensor | None) -> list[Tensor]:
        """The φ of every payload. Shapes: one, mask [n], basis [H, 2, J, n] -> [n] each."""
        found = [one] * len(self.function.thresholds)
        for place in self._sloped:
            assert mask is not None
            found += [mask] * len(place.thresholds)
        for wave, place in enumerate(self._waved):
            assert basis is not None
            found += [row for _ in place.thresholds for row in basis[:, :, wave].flatten(0, 1)]
        return found

    def deal(self, dealer: Dealer) -> Tensor:
        assert self.pair.mask is not None
        mask, table, basis = self.pair.mask.reshape(-1), self._table(), None
        if table.waved:
            less = integer_functions.SCALE_BITS - self.function.basis_bits
            basis = harmonics.basis(mask, harmonics_of(table.waves, self.input_bits), less)
            dealer.share(basis, self.bits)
        self.choice.deal(dealer, self.pair, self._numbers(torch.ones_like(mask), mask, basis))
        return unknown(self.pair.opened.shape)

    def evaluate(self, party: Party) -> Tensor:
        opened, table = self.pair.opened.reshape(-1), self._table()
        shape = (len(table.waves[0].harmonics), 2, len(table.waves), opened.numel()) if table.waves else None
        basis = None if shape is None else party.correlation(shape, self.bits)
        mask = None if self.pair.mask is None else self.pair.mask.reshape(-1)
        one = torch.full_like(opened, int(party.index == 0))
        choosing = Choosing(party, self.choice, self.pair)
        (leaves,) = party.open_planes(choosing.masked)
        found = iter(choosing.finish(leaves, self._numbers(one, mask, basis)))
        below = torch.stack([torch.zeros_like(one), *itertools.islice(found, len(self.function.thresholds)), one])
        pieces = integer_functions.numbers(table.chosen, opened.device)
        constants, slopes = (
            integer_functions.numbers(side, opened.device).unsqueeze(1) for side in (table.constants, table.slopes)
        )
        result = ((constants + slopes * opened) * (below[pieces + 1] - below[pieces])).sum(0)
        for k, place in zip(table.sloped, self._sloped, strict=True):
            assert mask is not None
            result -= table.slopes[k] * _indicated(place, mask.unsqueeze(0), found)[0]
        if basis is not None:
            waves = [_indicated(place, basis[:, :, j].flatten(0, 1), found) for j, place in enumerate(self._waved)]
            # Nothing is left to be chosen: each of these is zero but at one piece.
            no_choice = torch.zeros(tuple(basis.shape[2:]), dtype=torch.uint8, device=opened.device)
            amplitudes = factors_of(table.waves, self.function.amplitude_bits, opened.device)
            shares = torch.stack(waves, 1).reshape(basis.shape)
            harmonics.add_sum(result, opened, harmonics_of(table.waves, self.input_bits), amplitudes, no_choice, shares)
        return result.reshape(tuple(self.pair.opened.shape))


def _indicated(place: _Place, wholes: Tensor, found: Iterator[Tensor]) -> Tensor:
    """Shares of h φ, h the indicator of a piece. wholes: shares of the φ; found: of b φ, above and below the piece.

    Shapes: [m, n] -> the same.
    """
    taken = [torch.stack(list(itertools.islice(found, len(wholes)))) for _ in place.thresholds]
    above = wholes if place.above is None else taken[0]
    return above if place.below is None else above - taken[-1]


def evaluate(masked: Masked, x: Secret, function: Piecewise) -> Secret:
    """`piecewise` by one of its gates, or by a series where the function is smooth between two thresholds."""
    if function.smooth is not None:
        return evaluate_smooth(masked, x, function, function.smooth)
    bits = min(function.scale + function.integer_bits + 2, ring.WORD_BITS)
    compared = min(function.compare_bits, ring.WORD_BITS)
    least = max(bits, compared) if function.sloped else compared
    # What is held in a larger ring may as well be opened in one that has room for the digits' ends.
    room = _room(masked, x, function, bits)
    own = least if room > masked.own(x).bits else max(least, room)
    pair = masked.pair(x, own, dealt=function.sloped)
    bits = pair.bits if function.sloped else bits
    usual = EvaluatePiecewise(pair, function, x.fraction_bits, bits, masked.profile)
    share = masked.run(_at_once(masked, usual) or usual)
    return masked.result(share, bits, function.scale, function.output_bits)


def _room(masked: Masked, x: Secret, function: Piecewise, bits: int) -> int:
    """The ring that x must be opened in for the gate of one round; 0 where that is not worth its bytes."""
    pair = Pair(unknown(x.shape), None, ring.WORD_BITS, dealt=False)
    gate = _at_once(masked, EvaluatePiecewise(pair, function, x.fraction_bits, bits, masked.profile))
    return 0 if gate is None else gate.choice.width + gate.choice.thresholds.dropped


def _at_once(masked: Masked, usual: EvaluatePiecewise) -> PiecewiseAtOnce | None:
    """The gate that takes a round less, where that is worth its bytes and the ring has room for it."""
    gate = PiecewiseAtOnce(usual.pair, usual.function, usual.input_bits, usual.bits, usual.profile)
    if usual.pair.bits - gate.choice.thresholds.dropped < gate.choice.width:
        return None
    return gate if is_worth(masked, gate.cost(), usual.cost()) else None
