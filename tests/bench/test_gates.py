"""Single gates between real processes."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from bench.gate_engine import gate_names, shapes_of
from bench.gates import measure_gates
from protocols.core.errors import ConfigurationError


def test_results_have_the_elements_that_were_asked_for() -> None:
    for name in gate_names():
        shapes = shapes_of(name, 64)
        assert math.prod(shapes[0]) == 64, name
    assert shapes_of("Product matrix", 64) == ((8, 8), (8, 8))
    assert shapes_of("Product elementwise", 64) == ((64,), (64,))


def test_an_unknown_gate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no gate is named 'nonsense'; known: Open 64"):
        measure_gates([64], 1, "loopback", "nonsense", Console(quiet=True))


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
    # What a round takes is shared by more elements.
    assert large["microseconds"] < small["microseconds"]
