"""Gates of three evaluators: which of all gates they compute, and their own for the test of one-hot vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.cost import Cost
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.galois_ring import DEGREE, multiply, weighted_sum
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.chosen import Exp2AtOnce, SmoothAtOnce
from secure.protocols.masked.gates.decompose import Decompose
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.largest import Largest
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.lifted import LiftedProduct, LiftedSquare
from secure.protocols.masked.gates.linear import LinearShare, OpenedLinear
from secure.protocols.masked.gates.opening import Open, OpenBoth, ShareMask
from secure.protocols.masked.gates.pieces_at_once import PiecewiseAtOnce
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.gates.product import OpenedProduct, ProductShare, Square
from secure.protocols.masked.gates.smooth import EvaluateSmooth
from secure.protocols.masked.gates.triple_product import TripleProduct
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Dealer, Party
from secure.protocols.witnessed.roles import PartOf


@dataclass(frozen=True, eq=False)
class AllAreHere(Gate[None]):
    """A round that says nothing but that whoever takes part has come so far, with the input that it was given.

    Without it, an evaluator that colludes with a client would learn what is drawn next from the first who speaks, while
    the client still waits with what it gives to the last one.

    Cost: 1 round, nothing sent. Error: none. Reveals: nothing.
    """

    name = "all-are-here"

    def cost(self) -> Cost:
        return Cost(rounds=1)

    def deal(self, dealer: Dealer) -> None:
        return None

    def outline(self) -> None:
        return None

    def evaluate(self, party: Party) -> None:
        _part(party).wait_for_all()


@dataclass(frozen=True, eq=False)
class Draw(Gate[bytes]):
    """A seed that all evaluators know, and that nobody knew before, though one of them deviates: see `PartOf.draw`.

    Before they send anything of this round, all that it must not depend on is to be fixed: `AllAreHere`.

    Cost: 1 round, 16 bytes; the dealer sends nothing, and gets no seed.
    Error: none. Reveals: the seed, to all evaluators.
    """

    name = "draw"

    def cost(self) -> Cost:
        return Cost(rounds=1, online_bytes=SEED_BYTES)

    def deal(self, dealer: Dealer) -> bytes:
        dealer.mask((2,))
        return self.outline()

    def outline(self) -> bytes:
        return b""

    def evaluate(self, party: Party) -> bytes:
        return _part(party).draw()


@dataclass(frozen=True, eq=False)
class SumVanishes(Gate[None]):
    """Whether v = sum_n rho_n y_n^2 + addend is zero, of elements of the ring of `core.galois_ring`: v is opened.

    With y = c - r:  y^2 = c^2 - 2 c [r] + [r^2]. The dealer shares r^2, the rest is local.
    What v says of the client is acted on when digests of v have been compared, so that no evaluator can blame a client.

    Shapes: y, rho [N, 43], addend [43]. Encoding: pair in Z_2^k, mask dealt; rho public; addend a share.
    Cost: 1 round, 43 ceil(k/8) bytes; the dealer sends 43 N ceil(k/8).
    Error: none. Reveals: v to all evaluators, which is zero for an honest client.
    Source: the squares as in `Square`.
    """

    name = "sum-vanishes"
    y: Pair
    weights: Tensor
    addend: Tensor

    def cost(self) -> Cost:
        width = ring.element_bytes(self.y.bits)
        return Cost(rounds=1, online_bytes=DEGREE * width, dealer_bytes=self.y.opened.numel() * width)

    def deal(self, dealer: Dealer) -> None:
        assert self.y.mask is not None
        dealer.share(multiply(self.y.mask, self.y.mask), self.y.bits)

    def outline(self) -> None:
        return None

    def evaluate(self, party: Party) -> None:
        assert self.y.mask is not None
        part, c, bits = _part(party), self.y.opened, self.y.bits
        local = multiply(c, c - 2 * self.y.mask if part.index == 0 else -2 * self.y.mask)
        squares = local + part.correlation(tuple(c.shape), bits)
        v = part.open_unmasked(weighted_sum(self.weights, squares, bits) + self.addend, bits)
        part.judge(not bool(v.any()))


COMPUTED: frozenset[type[Gate[Any]]] = frozenset(
    {
        *(Open, OpenBoth, ShareMask, Lift, Carry, Decompose),
        *(OpenedProduct, LiftedProduct, ProductShare, Square, LiftedSquare, TripleProduct, OpenedLinear, LinearShare),
        *(EvaluatePiecewise, PiecewiseAtOnce, EvaluateSmooth, SmoothAtOnce, Largest, Exp2Negative, Exp2AtOnce),
        *(AllAreHere, Draw, SumVanishes),
    }
)
"""Gates whose messages are affine in what a part holds, with coefficients that all evaluators know: the only ones that
the argument is about. Another gate is refused until somebody has looked at it and written it down here."""


def check_gate(gate: Gate[Any]) -> None:
    """Raises ProtocolError for a gate that three evaluators do not compute."""
    if type(gate) not in COMPUTED:
        raise ProtocolError(
            f"gate {gate.name!r} is not one that three evaluators compute: what its parties send is not known to be "
            "what another holder of the same part can compute, too; use the protocol 'beaver', or look at its messages "
            "and add it to COMPUTED in protocols/witnessed/gates.py"
        )


def _part(party: Party) -> PartOf:
    if not isinstance(party, PartOf):
        raise ProtocolError("a gate of three evaluators was run by another family's party")
    return party
