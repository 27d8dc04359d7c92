"""Whatever one of three evaluators changes in what it sends, honest ones notice, or the result is right."""

from __future__ import annotations

import random
import zlib
from collections.abc import Hashable, Iterable

import pytest
import torch

from secure.protocols.masked.gates.opening import OpenToOne
from secure.protocols.masked.gates.vanishing import SquaresVanish, Toss
from secure.protocols.witnessed.gates import COMPUTED, AllAreHere, Draw, SumVanishes
from tests.protocols.gates import GATES, Build, Shape
from tests.protocols.witnessed.faults import CHANGES, Deviation, Setting, gate_program
from tests.sampling import sampled

REFUSED = {OpenToOne, Toss, SquaresVanish}
ROWS = [row for row in GATES if row[0] not in REFUSED and not row[1].startswith("server")]
CASES = [
    pytest.param(gate.__name__, change, build, cases[1 % len(cases)], id=f"{gate.__name__}-{variant}-{change}")
    for gate, variant, build, cases in ROWS
    for change in CHANGES
]


def aspects(gate: str, change: str, build: Build, shapes: tuple[Shape, ...]) -> Iterable[Hashable]:
    """The default run has each kind of change, on a gate that is quick."""
    return (change,) if gate == "OpenBoth" else ()


def setting(build: Build, shapes: tuple[Shape, ...]) -> Setting:
    generator = torch.Generator().manual_seed(7)
    inputs = [(torch.rand(shape, generator=generator) * 3 * 65536).to(torch.int64) for shape in shapes]
    return Setting(gate_program(build, shapes), inputs)


def test_every_gate_is_computed_or_refused() -> None:
    assert {row[0] for row in GATES} == (COMPUTED - {AllAreHere, Draw, SumVanishes}) | REFUSED


@pytest.mark.parametrize(("gate", "change", "build", "shapes"), sampled(CASES, aspects))
def test_a_change_on_the_wire_is_caught(gate: str, change: str, build: Build, shapes: tuple[Shape, ...]) -> None:
    """Each evaluator, each of its messages to the next one, of which the last ones are digests alone."""
    tried = setting(build, shapes)
    _, rounds = tried.run()
    for who in range(3):
        for at in range(rounds):
            caught = tried.is_caught(Deviation(who, True, at, CHANGES[change]))
            # A bit above the ring changes nothing. In the first round there is nothing to replay but an empty message.
            assert caught or change in ("last bit", "some bit"), (gate, who, at)


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "build", "shapes"), [(row[0].__name__, row[2], row[3][-1]) for row in ROWS])
def test_a_changed_digest_is_caught(gate: str, build: Build, shapes: tuple[Shape, ...]) -> None:
    """On the way to the previous evaluator, which hears digests alone."""
    tried = setting(build, shapes)
    _, rounds = tried.run()
    generator = random.Random(zlib.crc32(gate.encode()))
    for who in range(3):
        for at in range(rounds):
            assert tried.is_caught(Deviation(who, False, at, CHANGES["some bit"]))
            assert tried.is_caught(Deviation(who, generator.random() < 0.5, at, CHANGES["another digest"]))
