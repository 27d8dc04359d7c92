"""Functions by pieces, and powers of two, from what transfers made, by the gates of masked pairs."""

from __future__ import annotations

from dataclasses import dataclass

from secure.protocols.core.kernels.cpu.compiler import Array
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.profile import NEAR, Profile
from secure.protocols.hybrid.gates.paired import PairedGate
from secure.protocols.hybrid.transfer import pieces, powers
from secure.protocols.hybrid.transfer.crossing import Crossed
from secure.protocols.hybrid.transfer.making import Making
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.pair import Pair


@dataclass(frozen=True, eq=False)
class Transferred(PairedGate):
    """f(x) for a `Piecewise` f whose correlations can be made, by `EvaluatePiecewise`.

    Shapes: any. Encoding: shares in Z_2^width or larger, |x - t| < 2^(compare_bits - 1) -> in Z_2^bits, with
    function.scale fraction bits; bits = width where f has slopes. Cost, what is revealed: as `PairedGate`; making as
    `pieces.crossed`. Error: none for straight pieces; for a trigonometric sum as `EvaluatePiecewise`, with 1.2 units of
    the basis in place of a half.
    """

    name = "piecewise"
    function: Piecewise
    input_bits: int
    profile: Profile = NEAR

    def inner(self, pair: Pair) -> EvaluatePiecewise:
        return EvaluatePiecewise(pair, self.function, self.input_bits, self.bits, self.profile)

    @property
    def _piecewise(self) -> EvaluatePiecewise:
        gate = self.outer
        assert isinstance(gate, EvaluatePiecewise)
        return gate

    def crossed(self) -> Crossed:
        return pieces.crossed(self._piecewise)

    def make_correlations(self, making: Making, mask: Array) -> None:
        pieces.make(making, self._piecewise, mask)


@dataclass(frozen=True, eq=False)
class Exponentiated(PairedGate):
    """2^(-x), by `Exp2Negative`, with the argument's range and the result's scale as there.

    Shapes: any. Encoding: shares in Z_2^32 or larger with 16 fraction bits -> in Z_2^48 with `Exp2Negative.SCALE`.
    Cost, what is revealed: as `PairedGate`; making as `powers.crossed`. Error: 1.1e-4 after truncation, as 2^r is made
    with up to a unit more.
    """

    name = "exp2-negative"

    def inner(self, pair: Pair) -> Exp2Negative:
        return Exp2Negative(pair)

    def crossed(self) -> Crossed:
        return powers.crossed(self.x.numel())

    def make_correlations(self, making: Making, mask: Array) -> None:
        powers.make(making, mask)
