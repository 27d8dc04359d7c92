"""Every gate costs what it declares: rounds, online bytes and dealer bytes, at both parties and at the dealer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.cost import Cost
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.gate import Gate
from tests.in_process import run_roles
from tests.protocols.gates import GATES, Build, Shape, every_gate

ROWS = [
    pytest.param(gate, build, shapes, id=f"{gate.__name__}-{variant}-{'x'.join(map(str, shapes[0]))}-{i}")
    for gate, variant, build, cases in GATES
    for i, shapes in enumerate(cases)
]


def test_every_gate_has_a_row() -> None:
    assert every_gate() == {gate for gate, *_ in GATES}


def test_gates_have_distinct_names() -> None:
    names = [gate.name for gate in every_gate()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("gate", "build", "shapes"), ROWS)
def test_measured_is_declared(gate: type[Gate[Any]], build: Build, shapes: tuple[Shape, ...]) -> None:
    calls: list[Cost] = []

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        held = [
            torch.empty(shape, dtype=torch.int64, device="meta") if share is None else share
            for share, shape in zip(shares, shapes, strict=True)
        ]
        ready = build(protocol, held)
        assert isinstance(ready, gate)
        with protocol.layer("tested"):
            protocol.run(ready)
        calls.append(ready.cost())
        return torch.zeros(1)

    inputs = [torch.arange(torch.Size(shape).numel(), dtype=torch.int64).reshape(shape) for shape in shapes]
    _, meters, sent = run_roles(program, inputs)
    declared = calls[0]
    assert calls == [declared] * 3, "the three roles declare the same"
    rows = {role: meter.rows["tested", gate.name] for role, meter in meters.items()}
    assert {role: row.measured for role, row in rows.items()} == {role: declared.at(role) for role in rows}
    assert all(row.declared == declared and row.calls == 1 for row in rows.values())
    # The meters count what is on the wire, all gates together.
    assert {role: sum(map(len, messages)) for role, messages in sent.items()} == {
        "p0": meters["p0"].total.online_bytes,
        "p1": meters["p1"].total.online_bytes,
        "dealer": meters["p1"].total.dealer_bytes,
    }
    assert len(sent["p0"]) == len(sent["p1"]) == meters["p1"].total.rounds


# What the docstrings promise, in numbers: (rounds, online bytes, dealer bytes) for 8 elements.
PROMISED = {
    ("Open", "64"): Cost(1, 64, 0),
    ("Open", "47"): Cost(1, 48, 0),
    ("OpenToOne", "from-p0-64"): Cost(1, p0_bytes=64),
    ("OpenToOne", "from-p1-47"): Cost(1, p1_bytes=48),
    ("ShareMask", "48"): Cost(0, 0, 48),
    ("Lift", "48-64"): Cost(0, 0, 8 * (8 + 2)),
    ("Lift", "31-64"): Cost(0, 0, 8 * (8 + 5)),
    ("Square", "each-48"): Cost(0, 0, 48),
    ("Square", "summed"): Cost(0, 0, 8),
    ("Toss", ""): Cost(1, 16, 0),
    ("SquaresVanish", "24"): Cost(1, 32, 8 * 43 * 3),
    # 16 bits are four digits, merged in one round of 6 opened bits with 15 products of masks; then one bit is opened.
    ("Carry", "16"): Cost(2, 6 + 1, 4 * 15 + 15 + 8 * 8),
    # A tree over 30 places has five levels: they open 44 + 27 + 21 + 17 + 15 bits, by 29 + 26 + 24 + 20 + 14 products;
    # then 31 bits are opened.
    ("Decompose", "31"): Cost(6, 124 + 31, 31 + 113 + 31 * 8 * 4),
}


@pytest.mark.parametrize(("key", "promised"), PROMISED.items(), ids=str)
def test_costs_in_numbers(key: tuple[str, str], promised: Cost) -> None:
    build = next(build for gate, variant, build, _ in GATES if (gate.__name__, variant) == key)

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        share = shares[0]
        gate = build(protocol, [torch.empty(8, dtype=torch.int64, device="meta") if share is None else share])
        assert gate.cost() == promised
        return torch.zeros(1)

    run_roles(program, [torch.zeros(8, dtype=torch.int64)])
