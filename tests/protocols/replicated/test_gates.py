"""The replicated family's gates: each costs what it declares, and every message is uniform, whoever helps."""

from __future__ import annotations

import pytest

from secure.protocols.core.cost import Cost
from secure.protocols.replicated.gates.resharing import ReplicatedGate
from tests.protocols.replicated_gates import ROWS, GateRun, Row, Shape, run_gate
from tests.protocols.uniformity import ENOUGH_BYTES, assert_uniform, length_for_enough

CASES = [
    pytest.param(row, shapes, helper, id=f"{row.name}-{'x'.join(map(str, shapes[0]))}-helper{helper}")
    for row in ROWS
    for i, shapes in enumerate(row.shapes)
    for helper in ([i % 3] if i else range(3))
]


def test_every_gate_of_the_family_has_a_row() -> None:
    kinds = {run_gate(row, row.shapes[0], 0).kind for row in ROWS}
    assert set(ReplicatedGate.__subclasses__()) <= kinds


@pytest.mark.parametrize(("row", "shapes", "helper"), CASES)
def test_measured_is_declared(row: Row, shapes: tuple[Shape, ...], helper: int) -> None:
    run = run_gate(row, shapes, helper)
    declared = run.declared
    first, second = f"p{(helper + 1) % 3}", f"p{(helper + 2) % 3}"
    assert run.measured[second] == declared
    assert run.measured[f"p{helper}"] == Cost(0, 0, declared.dealer_bytes)
    assert run.measured[first] == Cost(declared.rounds, declared.online_bytes, 0)
    sent = {party: sum(map(len, messages)) for party, messages in run.sent.items()}
    assert sent == {first: declared.online_bytes, second: declared.online_bytes, f"p{helper}": declared.dealer_bytes}


# What the docstrings promise, in numbers: rounds, bytes of first and second each, bytes of the helper, for 8 elements.
PROMISED = {
    "reshare-64": Cost(1, 64, 0),
    "reshare-21": Cost(1, 24, 0),
    "truncate-64-48": Cost(1, 0, 48),
    "lift-48-64": Cost(2, 16, 32),
    "rescale-open-48": Cost(1, 48, 24),
    "product": Cost(1, 64, 48),
    "product-unscaled": Cost(1, 64, 64),
    "triple-product": Cost(2, 64, 3 * 64 + 32),
    # As in the beaver family, but the helper's message is a round of its own.
    "carry-16": Cost(3, 6 + 1, 4 * 15 + 15 + 8 * 8),
}


@pytest.mark.parametrize(("name", "promised"), PROMISED.items(), ids=str)
def test_costs_in_numbers(name: str, promised: Cost) -> None:
    row = next(row for row in ROWS if row.name == name)
    assert run_gate(row, tuple((8,) for _ in row.shapes[0]), 0).declared == promised


@pytest.mark.parametrize("helper", range(3))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_message_is_uniform(row: Row, helper: int) -> None:
    few, shapes = 8, row.shapes[1 if len(row.shapes[0]) == 1 else 0]

    def of_length(count: int) -> tuple[Shape, ...]:
        return tuple((count, *shape[1:]) if i == 0 else shape for i, shape in enumerate(shapes))

    def least(run: GateRun) -> int:
        return min(sum(map(len, messages)) for messages in run.sent.values() if messages)

    count = length_for_enough(few, least(run_gate(row, of_length(few), helper)))
    run = run_gate(row, of_length(count), helper)
    if least(run) < ENOUGH_BYTES:
        # A comparison of many elements merges its digits in more rounds, of which less is sent for each element.
        run = run_gate(row, of_length(length_for_enough(count, least(run))), helper)
    for party, messages in run.sent.items():
        if messages:
            assert_uniform(b"".join(messages), 1, f"{row.name} from {party}")
