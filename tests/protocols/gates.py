"""Every gate, run by itself: what it takes to build one from shares. A new gate is one row of `GATES`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.galois_ring import DEGREE
from secure.protocols.core.piecewise import Piecewise
from secure.protocols.core.secret import Parameter, Visibility
from secure.protocols.functions import compare, gelu, reciprocal_and_root, silu, tanh
from secure.protocols.masked import gates
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.chosen import Exp2AtOnce, SmoothAtOnce
from secure.protocols.masked.gates.decompose import Decompose
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.largest import Largest
from secure.protocols.masked.gates.lift import Lift
from secure.protocols.masked.gates.lifted import LiftedProduct, LiftedSquare
from secure.protocols.masked.gates.linear import LinearShare, OpenedLinear
from secure.protocols.masked.gates.opening import Open, OpenBoth, OpenToOne, ShareMask
from secure.protocols.masked.gates.pieces_at_once import PiecewiseAtOnce
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.gates.product import Bilinear, OpenedProduct, ProductShare, Square
from secure.protocols.masked.gates.smooth import EvaluateSmooth
from secure.protocols.masked.gates.triple_product import TripleProduct
from secure.protocols.masked.gates.vanishing import SquaresVanish, Toss
from secure.protocols.masked.pair import Pair
from secure.protocols.masked.roles import Party
from secure.protocols.masked.weights import Matrix, ServerMatrix

_RECIPROCAL = reciprocal_and_root.reciprocal_function(-4, 13)
Build = Callable[[BeaverProtocol, list[Tensor]], Gate[Any]]
"""A gate from shares of its arguments; other gates that make its inputs may run first."""


def opened(protocol: BeaverProtocol, share: Tensor, bits: int = 64) -> Pair:
    return protocol.run(Open(share, bits))


def shifted(protocol: BeaverProtocol, share: Tensor, shift: int = 16) -> Pair:
    """The pair that a truncation leaves: in a smaller ring, its mask not dealt."""
    return opened(protocol, share).shift_right(shift, at_dealer=protocol.at_dealer)


def _product(kind: Bilinear, bits: int) -> Build:
    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> OpenedProduct:
        x, y = opened(protocol, shares[0], bits), opened(protocol, shares[1])
        return OpenedProduct(kind, x, y, shares[1])

    return build


def _lifted_product(shifts: tuple[int, int], bits: int) -> Build:
    """Factors after truncations by so much, or as they are."""

    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> LiftedProduct:
        pairs = [shifted(protocol, share, shift) for share, shift in zip(shares, shifts, strict=True)]
        given = [
            protocol.run(Lift(pair, bits)) if pair.bits < bits else share
            for pair, share in zip(pairs, shares, strict=True)
        ]
        return LiftedProduct(pairs[0], given[0], pairs[1], given[1], bits)

    return build


def _lifted_square(protocol: BeaverProtocol, share: Tensor, shift: int, bits: int) -> LiftedSquare:
    pair = shifted(protocol, share, shift)
    return LiftedSquare(pair, protocol.run(Lift(pair, bits)), bits)


def _product_share(bits: int) -> Build:
    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> ProductShare:
        return ProductShare(opened(protocol, shares[0], bits), opened(protocol, shares[1]), shares[1])

    return build


def _linear(bits: int, matrix_bits: int, kind: type[OpenedLinear | LinearShare] = OpenedLinear) -> Build:
    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> OpenedLinear | LinearShare:
        given = None if protocol.at_dealer else shares[1]
        matrix = protocol.prepare(Parameter(tuple(shares[1].shape), 16, matrix_bits, opened=True), given)
        assert isinstance(matrix, Matrix)
        return kind(opened(protocol, shares[0], bits), matrix, shares[2])

    return build


def _server_linear(bits: int, matrix_bits: int, kind: type[OpenedLinear | LinearShare] = OpenedLinear) -> Build:
    """P1's share of the matrix stands for the matrix."""

    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> OpenedLinear | LinearShare:
        at_owner = isinstance(protocol.role, Party) and protocol.role.index == 1
        given = shares[1] if at_owner else None
        parameter = Parameter(tuple(shares[1].shape), 16, matrix_bits, opened=True)
        matrix = protocol.prepare(parameter, given, Visibility.SERVER)
        assert isinstance(matrix, ServerMatrix)
        return kind(opened(protocol, shares[0], bits), matrix, shares[2])

    return build


def _piecewise(function: Piecewise, bits: int, kind: type[EvaluatePiecewise] = EvaluatePiecewise) -> Build:
    return lambda protocol, shares: kind(opened(protocol, shares[0], bits), function, 16, bits)


def _smooth(
    function: Piecewise,
    ring_bits: int,
    bits: int,
    *,
    exact: bool = False,
    kind: type[EvaluateSmooth] = EvaluateSmooth,
) -> Build:
    shift = 0 if exact else function.scale - function.output_bits
    return lambda protocol, shares: kind(opened(protocol, shares[0], ring_bits), function, 16, bits, shift)


def _triple(protocol: BeaverProtocol, shares: list[Tensor]) -> TripleProduct:
    first, second, third = (opened(protocol, share) for share in shares)
    return TripleProduct(first, second, third)


def _vanishing(bits: int) -> Build:
    def build(protocol: BeaverProtocol, shares: list[Tensor]) -> SquaresVanish:
        share = shares[0].reshape(-1, 1).expand(-1, DEGREE)
        return SquaresVanish(opened(protocol, share, bits), torch.ones_like(share), torch.zeros_like(share[0]))

    return build


def _coarse(build: Build, dropped: int) -> Build:
    """The same gate with an opening, or a series, without so many low bits."""
    return lambda protocol, shares: replace(cast(Any, build(protocol, shares)), dropped=dropped)


def _low(protocol: BeaverProtocol, shares: list[Tensor], bits: int) -> Carry:
    return Carry(opened(protocol, shares[0]).low_part(bits, at_dealer=protocol.at_dealer))


Shape = tuple[int, ...]
_ONE: tuple[tuple[Shape, ...], ...] = (((1,),), ((7,),), ((8,),), ((2, 3, 5),), ((1001,),))
_TWO: tuple[tuple[Shape, ...], ...] = (((1,), (1,)), ((3, 7), (7,)), ((5, 1), (1, 9)))
_BROADCAST: tuple[tuple[Shape, ...], ...] = (((1,), (1,)), ((3, 7), (7,)), ((5, 9), (5, 1)))
_MATRICES: tuple[tuple[Shape, ...], ...] = (
    ((1, 1), (1, 1)),
    ((3, 7), (7, 5)),
    ((2, 3, 9), (9, 5)),
    ((2, 3, 9), (2, 9, 1)),
)
_FEW: tuple[tuple[Shape, ...], ...] = (((1, 2),), ((5, 3),), ((1001, 4),), ((2, 3, 4),), ((7, 8),))
_BIASED = tuple((x, w, (w[-1],)) for x, w in _MATRICES if len(w) == 2)
_THREE: tuple[tuple[Shape, ...], ...] = (((1,),) * 3, ((2, 3, 5), (5,), (1,)), ((3, 7), (3, 1), (7,)))

GATES: list[tuple[type[Gate[Any]], str, Build, tuple[tuple[Shape, ...], ...]]] = [
    (Open, "64", lambda p, s: Open(s[0], 64), _ONE),
    (Open, "47", lambda p, s: Open(s[0], 47), _ONE),
    (Open, "31", lambda p, s: Open(s[0], 31), _ONE),
    (Open, "64-without-40", lambda p, s: Open(s[0], 64, dropped=40), _ONE),
    (Open, "47-without-7", lambda p, s: Open(s[0], 47, dropped=7), _ONE),
    (OpenToOne, "from-p0-64", lambda p, s: OpenToOne(s[0], 64, sender=0), _ONE),
    (OpenToOne, "from-p1-47", lambda p, s: OpenToOne(s[0], 47, sender=1), _ONE),
    (OpenBoth, "64-47", lambda p, s: OpenBoth(s[0], s[1], 64, 47), _TWO),
    (OpenBoth, "31-64", lambda p, s: OpenBoth(s[0], s[1], 31, 64), _TWO),
    (ShareMask, "48", lambda p, s: ShareMask(shifted(p, s[0])), _ONE),
    (ShareMask, "31", lambda p, s: ShareMask(shifted(p, s[0], 33)), _ONE),
    (Toss, "", lambda p, s: Toss(), _ONE),
    (SquaresVanish, "24", _vanishing(24), _ONE),
    (SquaresVanish, "64", _vanishing(64), _ONE),
    (Lift, "48-64", lambda p, s: Lift(shifted(p, s[0]), 64), _ONE),
    (Lift, "31-64", lambda p, s: Lift(shifted(p, s[0], 33), 64), _ONE),
    (Lift, "63-64", lambda p, s: Lift(shifted(p, s[0], 1), 64), _ONE),
    (Lift, "21-48", lambda p, s: Lift(shifted(p, s[0], 43), 48), _ONE),
    (OpenedProduct, "elementwise", _product(Bilinear.ELEMENTWISE, 64), _TWO),
    (OpenedProduct, "elementwise-47", _product(Bilinear.ELEMENTWISE, 47), _TWO),
    (OpenedProduct, "matrix", _product(Bilinear.MATRIX, 64), _MATRICES),
    (OpenedProduct, "matrix-48", _product(Bilinear.MATRIX, 48), _MATRICES),
    (OpenedProduct, "matrix-48-without-8", _coarse(_product(Bilinear.MATRIX, 48), 8), _MATRICES),
    (LiftedProduct, "31-20-64", _lifted_product((33, 44), 64), _BROADCAST),
    (LiftedProduct, "31-64", _lifted_product((33, 0), 64), _BROADCAST),
    (LiftedProduct, "64-19-47", _lifted_product((0, 45), 47), _BROADCAST),
    (LiftedProduct, "31-23-48", _lifted_product((33, 41), 48), _BROADCAST),
    (LiftedProduct, "31-20-64-without-8", _coarse(_lifted_product((33, 44), 64), 8), _BROADCAST),
    (ProductShare, "64", _product_share(64), _TWO),
    (ProductShare, "47", _product_share(47), _TWO),
    (OpenedLinear, "64", _linear(64, 64), _BIASED),
    (OpenedLinear, "48", _linear(48, 64), _BIASED),
    (OpenedLinear, "64-without-8", _coarse(_linear(64, 64), 8), _BIASED),
    (OpenedLinear, "32", _linear(32, 32), _BIASED),
    (OpenedLinear, "server-64", _server_linear(64, 64), _BIASED),
    (OpenedLinear, "server-47", _server_linear(47, 64), _BIASED),
    (OpenedLinear, "server-47-without-7", _coarse(_server_linear(47, 64), 7), _BIASED),
    (OpenedLinear, "server-24", _server_linear(24, 24), _BIASED),
    (LinearShare, "server-48", _server_linear(48, 64, LinearShare), _BIASED),
    (LinearShare, "64", _linear(64, 64, LinearShare), _BIASED),
    (LinearShare, "47", _linear(47, 64, LinearShare), _BIASED),
    (Square, "each", lambda p, s: Square(opened(p, s[0]), summed=False), _ONE),
    (Square, "each-48", lambda p, s: Square(opened(p, s[0], 48), summed=False), _ONE),
    (Square, "summed", lambda p, s: Square(opened(p, s[0]), summed=True), _ONE),
    (LiftedSquare, "31-64", lambda p, s: _lifted_square(p, s[0], 33, 64), _ONE),
    (LiftedSquare, "31-56", lambda p, s: _lifted_square(p, s[0], 33, 56), _ONE),
    (TripleProduct, "", _triple, _THREE),
    (TripleProduct, "without-24", _coarse(_triple, 24), _THREE),
    (Carry, "16", lambda p, s: _low(p, s, 16), _ONE),
    (Carry, "33", lambda p, s: _low(p, s, 33), _ONE),
    (Carry, "4", lambda p, s: _low(p, s, 4), _ONE),
    (Decompose, "5", lambda p, s: Decompose(opened(p, s[0], 47), 5, 31), _ONE),
    (Decompose, "31", lambda p, s: Decompose(opened(p, s[0], 47), 31, 31), _ONE),
    (Decompose, "1", lambda p, s: Decompose(opened(p, s[0]), 1, 64), _ONE),
    (EvaluatePiecewise, "less-than", _piecewise(compare.NEGATIVE, 32), _ONE),
    (EvaluatePiecewise, "gelu", _piecewise(gelu.GELU, 47), _ONE),
    (EvaluateSmooth, "gelu", _smooth(gelu.GELU, 48, 48), _ONE),
    (EvaluateSmooth, "gelu-without-8", _coarse(_smooth(gelu.GELU, 48, 48), 8), _ONE),
    (EvaluateSmooth, "gelu-exact", _smooth(gelu.GELU, 64, 47, exact=True), _ONE),
    (EvaluateSmooth, "silu", _smooth(silu.SILU, 64, 64), _ONE),
    (EvaluateSmooth, "tanh", _smooth(tanh.TANH, 32, 40), _ONE),
    (SmoothAtOnce, "gelu", _smooth(gelu.GELU, 48, 48, kind=SmoothAtOnce), _ONE),
    (SmoothAtOnce, "gelu-without-8", _coarse(_smooth(gelu.GELU, 48, 48, kind=SmoothAtOnce), 8), _ONE),
    (SmoothAtOnce, "silu-exact", _smooth(silu.SILU, 64, 64, exact=True, kind=SmoothAtOnce), _ONE),
    (SmoothAtOnce, "tanh", _smooth(tanh.TANH, 40, 40, kind=SmoothAtOnce), _ONE),
    (EvaluatePiecewise, "tanh", _piecewise(tanh.TANH, 64), _ONE),
    (EvaluatePiecewise, "reciprocal", _piecewise(_RECIPROCAL, 64), _ONE),
    (PiecewiseAtOnce, "less-than", _piecewise(compare.NEGATIVE, 40, PiecewiseAtOnce), _ONE),
    (PiecewiseAtOnce, "gelu", _piecewise(gelu.GELU, 47, PiecewiseAtOnce), _ONE),
    (PiecewiseAtOnce, "reciprocal", _piecewise(_RECIPROCAL, 64, PiecewiseAtOnce), _ONE),
    (Largest, "of-19-bits", lambda p, s: Largest(opened(p, s[0], 19), 17), _FEW),
    (Largest, "of-64-bits", lambda p, s: Largest(opened(p, s[0]), 30), _FEW),
    (Exp2AtOnce, "32", lambda p, s: Exp2AtOnce(opened(p, s[0], 32)), _ONE),
    (Exp2Negative, "32", lambda p, s: Exp2Negative(opened(p, s[0], 32)), _ONE),
    (Exp2Negative, "64", lambda p, s: Exp2Negative(opened(p, s[0])), _ONE),
]


def every_gate() -> set[type[Gate[Any]]]:
    """All classes that derive from Gate, in every module of `masked.gates`."""
    for module in pkgutil.walk_packages(gates.__path__, gates.__name__ + "."):
        importlib.import_module(module.name)
    found: set[type[Gate[Any]]] = set()
    waiting = [cast("type[Gate[Any]]", Gate)]
    while waiting:
        children = set(waiting.pop().__subclasses__())
        found |= children
        waiting += children
    # The replicated family has gates of its own.
    return {gate for gate in found if gate.__module__.startswith(gates.__name__)}
