"""What each party sees of each gate of its family is uniform, jointly: see `finding` for what that means.

Every row of both tables of gates is looked at, the first one of each kind in the default run. All inputs and shares are
zero there, so that sums have no carries which hide a relation; `test_secrets` has others.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols import replicated
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.secret import Protocol
from secure.protocols.masked import table
from secure.protocols.masked.gate import Gate
from secure.protocols.replicated.gates.resharing import Rescale
from secure.protocols.replicated.protocol import ReplicatedParty
from secure.protocols.replicated.secret import ReplicatedSecret
from tests.in_process import RoleProgram
from tests.protocols.gates import GATES, Build, Shape, every_gate
from tests.protocols.joint_view.observing import LEAST_SAMPLES, MOST_BYTES, QUICK, observe
from tests.protocols.joint_view.views import BEAVER, REPLICATED
from tests.protocols.replicated_gates import ROWS, Row

THOROUGH = {"whole_bits": 1500, "most_bytes": MOST_BYTES, "least_samples": LEAST_SAMPLES}
"""The slow run looks at every bit of a view of moderate length, and for bits that lean one way."""

HELPER, FIRST, SECOND = range(3)
"""The parties of the replicated family in these tests."""

SEEN_AGAIN = {
    "reshare-21",
    "truncate-32-19",
    "lift-19-48",
    "product-48",
    "product-unscaled",
    "matmul",
    "decompose-31",
    "silu-exact",
    "tanh",
    "reciprocal",
}
"""Rows of the replicated family whose gates other rows have, too: left to the slow run."""


def small(shapes: tuple[tuple[Shape, ...], ...]) -> tuple[Shape, ...]:
    """The second case of a row, which has several elements, with no axis longer than two."""
    return tuple(tuple(min(length, 2) for length in shape) for shape in shapes[1])


def zeros(shapes: Sequence[Shape]) -> list[Tensor]:
    return [torch.zeros(shape, dtype=torch.int64) for shape in shapes]


def beaver_program(build: Build, shapes: Sequence[Shape]) -> RoleProgram:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        held = [
            torch.empty(shape, dtype=torch.int64, device="meta") if share is None else share
            for share, shape in zip(shares, shapes, strict=True)
        ]
        protocol.run(build(protocol, held))
        return torch.zeros(1)

    return program


def replicated_program(row: Row, shapes: Sequence[Shape], kinds: set[type[Gate[Any]]]) -> RoleProgram:
    """The gate on shares. kinds: collects the classes of the gates."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, ReplicatedParty)
        secrets = [protocol.input(*given) for given in zip(shares, shapes, (16,) * 3, row.bits, strict=False)]
        protocol.helper = HELPER
        role = protocol.role
        gate = row.build(role, [s.shares for s in secrets if isinstance(s, ReplicatedSecret)])
        kinds.update({type(gate), type(gate.opening)} if isinstance(gate, Rescale) else {type(gate)})
        protocol.run(gate)
        return torch.zeros(1)

    return program


def gates_of_three_parties() -> set[type[Gate[Any]]]:
    """The gates that a module of the replicated family names, and those that have a line in the table of both."""
    found = pkgutil.walk_packages(replicated.__path__, f"{replicated.__name__}.")
    named = [value for module in found for value in vars(importlib.import_module(module.name)).values()]
    rows = [module for module in vars(table).values() if inspect.ismodule(module)]
    named += [value for module in rows for value in vars(module).values() if inspect.getmodule(value) is module]
    return {gate for gate in named if inspect.isclass(gate) and issubclass(gate, Gate) and not inspect.isabstract(gate)}


def _beaver_cases() -> list[Any]:
    seen: set[type[Gate[Any]]] = set()
    cases = []
    for gate, variant, build, shapes in GATES:
        for receiver, party in enumerate(BEAVER.parties):
            given, name = (build, small(shapes), receiver), f"{gate.__name__}-{variant}-{party}"
            cases += _by_depth(given, name, in_default=gate not in seen)
        seen.add(gate)
    return cases


def _replicated_cases() -> list[Any]:
    """The default run looks at second alone, who hears more; first hears from second what second hears from first."""
    cases = []
    for row in ROWS:
        for receiver in (FIRST, SECOND):
            in_default = receiver == SECOND and row.name not in SEEN_AGAIN
            cases += _by_depth((row, receiver), f"{row.name}-{REPLICATED.parties[receiver]}", in_default=in_default)
    return cases


def _by_depth(given: tuple[Any, ...], name: str, *, in_default: bool) -> list[Any]:
    """Each view thoroughly in the slow run, and quickly in the default run."""
    found = [pytest.param(*given, THOROUGH, id=f"{name}-thorough", marks=[pytest.mark.slow])]
    return [*found, pytest.param(*given, QUICK, id=name)] if in_default else found


def test_every_gate_has_a_view() -> None:
    assert every_gate() <= {gate for gate, *_ in GATES}
    every = gates_of_three_parties()
    found: set[type[Gate[Any]]] = set()
    for row in ROWS:
        shapes = small(row.shapes)
        program = replicated_program(row, shapes, every if row.name in SEEN_AGAIN else found)
        assert observe(REPLICATED, program, zeros(shapes), HELPER) is None, "a helper hears nothing"
    assert every <= found


@pytest.mark.parametrize(("build", "shapes", "receiver", "depth"), _beaver_cases())
def test_a_gate_of_two_parties(build: Build, shapes: tuple[Shape, ...], receiver: int, depth: dict[str, int]) -> None:
    program = beaver_program(build, shapes)
    samples = observe(BEAVER, program, zeros(shapes), receiver, **depth)
    assert samples is None or samples.findings() == []


@pytest.mark.parametrize(("row", "receiver", "depth"), _replicated_cases())
def test_a_gate_of_three_parties(row: Row, receiver: int, depth: dict[str, int]) -> None:
    shapes = small(row.shapes)
    program = replicated_program(row, shapes, set())
    samples = observe(REPLICATED, program, zeros(shapes), receiver, **depth)
    assert samples is None or samples.findings() == []
