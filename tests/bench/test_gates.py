"""Single gates between real processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from rich.console import Console
from torch import Tensor

from bench.gate_engine import MEASURED, gate_engine, gate_names, run_gate, shapes_of
from bench.gates import measure_gates
from secure.parties.config import Limits
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.secret import Protocol
from tests.in_process import run_roles


def test_results_have_the_elements_that_were_asked_for() -> None:
    for name in gate_names():
        shapes = shapes_of(name, 64)
        assert math.prod(shapes[0]) == 64, name
    assert shapes_of("OpenedProduct matrix", 64) == ((8, 8), (8, 8))
    assert shapes_of("OpenedProduct elementwise", 64) == ((64,), (64,))


@pytest.mark.parametrize("name", gate_names())
def test_a_gate_takes_its_shapes(name: str) -> None:
    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, BeaverProtocol)
        device = "meta" if protocol.at_dealer else "cpu"
        arguments = [torch.zeros(shape, dtype=torch.int64, device=device) for shape in shapes_of(name, 64)]
        run_gate(protocol, name, arguments, MEASURED)
        return torch.zeros(0)

    _, meters, _ = run_roles(program, [])
    assert any(row["layer"] == MEASURED for row in meters["p0"].snapshot())


def test_an_engine_of_gates_reserves_nothing() -> None:
    engine = gate_engine(Limits(threads=torch.get_num_threads()), "cpu")
    assert engine.working_set_bytes(None, "{}") == 0
    assert engine.free_bytes() is None


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no gate is named 'nonsense'; known: Open 64"):
        measure_gates([64], 1, "loopback", "nonsense", Console(quiet=True))


@pytest.mark.slow
@pytest.mark.processes
def test_a_gate_is_measured_by_element() -> None:
    record = measure_gates([64, 1024], 1, "loopback", "open 64", Console(quiet=True))
    assert record["kind"] == "gates"
    small, large = record["gates"]
    assert (small["gate"], small["elements"], large["elements"]) == ("Open 64", 64, 1024)
    for row in (small, large):
        # Eight bytes from each of the two parties.
        assert (row["rounds"], row["online_bytes"], row["dealer_bytes"]) == (1, 16.0, 0.0)
        assert row["microseconds"] > 0
