"""Every gate that the replicated family runs, by itself. A new gate is one row of `ROWS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import factor
from secure.protocols.core.cost import Cost
from secure.protocols.core.secret import Protocol
from secure.protocols.functions import compare, gelu, reciprocal_and_root, silu, tanh
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.carry import Carry
from secure.protocols.masked.gates.chosen import Exp2AtOnce, SmoothAtOnce
from secure.protocols.masked.gates.decompose import Decompose
from secure.protocols.masked.gates.exponential import Exp2Negative
from secure.protocols.masked.gates.largest import Largest
from secure.protocols.masked.gates.linear import OpenedLinear
from secure.protocols.masked.gates.opening import Open
from secure.protocols.masked.gates.pieces_at_once import PiecewiseAtOnce
from secure.protocols.masked.gates.piecewise import EvaluatePiecewise
from secure.protocols.masked.gates.product import Bilinear, OpenedProduct
from secure.protocols.masked.gates.smooth import EvaluateSmooth
from secure.protocols.masked.gates.triple_product import TripleProduct
from secure.protocols.masked.weights import Matrix
from secure.protocols.replicated.gates.resharing import LiftShares, Rescale, Reshare, Truncate
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.roles import Helper
from secure.protocols.replicated.secret import ReplicatedSecret
from secure.protocols.replicated.shares import Shares, Side, additive, pair_of
from tests.three_parties import run_parties

Build = Callable[[Side, list[Shares]], Gate[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A gate from shares of its arguments, and the rings in which they are."""

    name: str
    build: Build
    shapes: tuple[tuple[Shape, ...], ...]
    bits: tuple[int, ...] = (64, 64, 64)


def _pairs(role: Side, shares: list[Shares]) -> list[Any]:
    return [pair_of(role, each) for each in shares]


def _product(kind: Bilinear, shift: int) -> Build:
    def build(role: Side, shares: list[Shares]) -> Gate[Any]:
        x, y = _pairs(role, shares)
        product = OpenedProduct(kind, x, y, additive(role, shares[1]))
        return Rescale(product, product.bits, shift)

    return build


def _linear(role: Side, shares: list[Shares]) -> Gate[Any]:
    pair = pair_of(role, shares[1])
    assert pair.mask is not None
    kept = [pair.mask] if isinstance(role, Helper) else [additive(role, shares[1]), -pair.opened]
    matrix = Matrix(factor.prepare(kept, 64), tuple(shares[1].own.shape), 16, 64)
    product = OpenedLinear(pair_of(role, shares[0]), matrix, additive(role, shares[2]))
    return Rescale(product, product.bits, 16)


def _lift(to_bits: int) -> Build:
    return lambda role, shares: LiftShares(shares[0], pair_of(role, shares[0]), to_bits)


_ONE: tuple[tuple[Shape, ...], ...] = (((1,),), ((7,),), ((8,),), ((2, 3, 5),), ((1001,),))
_TWO: tuple[tuple[Shape, ...], ...] = (((1,), (1,)), ((3, 7), (7,)), ((5, 1), (1, 9)))
_MATRICES: tuple[tuple[Shape, ...], ...] = (((1, 1), (1, 1)), ((3, 7), (7, 5)), ((2, 3, 9), (9, 5)))
_BIASED = tuple((x, w, (w[-1],)) for x, w in _MATRICES)
_THREE: tuple[tuple[Shape, ...], ...] = (((1,),) * 3, ((2, 3, 5), (5,), (1,)), ((3, 7), (3, 1), (7,)))

_RECIPROCAL = reciprocal_and_root.reciprocal_function(-4, 13)
ROWS = (
    Row("reshare-64", lambda r, s: Reshare(additive(r, s[0]), 64), _ONE),
    Row("reshare-21", lambda r, s: Reshare(additive(r, s[0]), 21), _ONE),
    Row("truncate-64-48", lambda r, s: Truncate(pair_of(r, s[0]), 16), _ONE),
    Row("truncate-32-19", lambda r, s: Truncate(pair_of(r, s[0]), 13), _ONE, (32,)),
    Row("lift-48-64", _lift(64), _ONE, (48,)),
    Row("lift-19-48", _lift(48), _ONE, (19,)),
    Row("rescale-open-48", lambda r, s: Rescale(Open(additive(r, s[0]), 48), 48, 29), _ONE),
    Row("product", _product(Bilinear.ELEMENTWISE, 16), _TWO),
    Row("product-48", _product(Bilinear.ELEMENTWISE, 16), _TWO, (48, 64)),
    Row("product-unscaled", _product(Bilinear.ELEMENTWISE, 0), _TWO),
    Row("matmul", _product(Bilinear.MATRIX, 16), _MATRICES),
    Row("linear", _linear, _BIASED),
    Row("triple-product", lambda r, s: Rescale(TripleProduct(*_pairs(r, s)), 64, 33), _THREE),
    Row("carry-16", lambda r, s: Carry(pair_of(r, s[0]).low_part(16, at_dealer=isinstance(r, Helper))), _ONE),
    Row("decompose-5", lambda r, s: Decompose(pair_of(r, s[0]), 5, 31), _ONE, (48,)),
    Row("decompose-31", lambda r, s: Decompose(pair_of(r, s[0]), 31, 31), _ONE, (48,)),
    Row("less-than", lambda r, s: EvaluatePiecewise(pair_of(r, s[0]), compare.NEGATIVE, 16, 32), _ONE, (32,)),
    Row("gelu", lambda r, s: EvaluateSmooth(pair_of(r, s[0]), gelu.GELU, 16, 48, 11), _ONE, (48,)),
    Row("gelu-at-once", lambda r, s: SmoothAtOnce(pair_of(r, s[0]), gelu.GELU, 16, 48, 11), _ONE, (48,)),
    Row("reciprocal-at-once", lambda r, s: PiecewiseAtOnce(pair_of(r, s[0]), _RECIPROCAL, 16, 64), _ONE),
    Row("exp2-at-once", lambda r, s: Exp2AtOnce(pair_of(r, s[0])), _ONE, (32,)),
    Row("silu-exact", lambda r, s: EvaluateSmooth(pair_of(r, s[0]), silu.SILU, 16, 64, 0), _ONE),
    Row("tanh", lambda r, s: EvaluatePiecewise(pair_of(r, s[0]), tanh.TANH, 16, 64), _ONE),
    Row("reciprocal", lambda r, s: EvaluatePiecewise(pair_of(r, s[0]), _RECIPROCAL, 16, 64), _ONE),
    Row("largest", lambda r, s: Largest(pair_of(r, s[0]), 17), (((1, 2),), ((5, 3),), ((1001, 4),)), (19,)),
    Row("exp2-negative", lambda r, s: Exp2Negative(pair_of(r, s[0])), _ONE, (32,)),
)


@dataclass(frozen=True)
class GateRun:
    """A gate on its own: its class, what it declared, each party's measured cost, and every message by sender."""

    kind: type[Gate[Any]]
    declared: Cost
    measured: dict[str, Cost]
    sent: dict[str, list[bytes]]


def run_gate(row: Row, shapes: tuple[Shape, ...], helper: int) -> GateRun:
    """The gate on zeros, with party `helper` helping; nothing else is sent."""
    declared: list[Cost] = []
    kinds: list[type[Gate[Any]]] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, ReplicatedParty)
        secrets = [protocol.input(s, x, 16, b) for s, x, b in zip(shares, shapes, row.bits, strict=False)]
        protocol.helper = helper
        role = protocol.role
        gate = row.build(role, [s.shares for s in secrets if isinstance(s, ReplicatedSecret)])
        kinds.append(type(gate))
        with protocol.layer("tested"):
            protocol.run(gate)
        (found,) = protocol.meter.rows.values()
        declared.append(found.declared)
        return torch.zeros(1)

    inputs = [torch.zeros(shape, dtype=torch.int64) for shape in shapes]
    _, meters, sent = run_parties(program, inputs)
    assert declared == declared[:1] * 3, "the three parties declare the same"
    return GateRun(kinds[0], declared[0], {party: meter.total for party, meter in meters.items()}, sent)
