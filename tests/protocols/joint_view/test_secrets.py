"""What a party sees depends on no secret: not on which it is, and not on how it changes from run to run.

Were there a relation that involves secrets which change, there would be one with the secrets fixed; that is what the
other tests look for. What is looked for here in addition are bits that lean the way a secret bit does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.in_process import run_roles
from tests.protocols.gates import GATES, Build, Shape
from tests.protocols.joint_view.observing import observe
from tests.protocols.joint_view.test_gates import FIRST, SECOND, beaver_program, replicated_program, small
from tests.protocols.joint_view.views import BEAVER, REPLICATED, SESSION, seed_of
from tests.protocols.replicated_gates import ROWS, Row

ENDS = (-1, (1 << 63) - 1, -(1 << 63), 1, 0x5555555555555555, (1 << 32) - 1)
"""These values make many carries, or none."""
SAMPLES = 512
"""So many show a bit that is the same as another in three quarters of all runs."""
DEFAULT = ("Product-elementwise", "product")


def ends(shapes: Sequence[Shape]) -> list[Tensor]:
    """The same values in another order for each input."""
    return [
        torch.tensor([ENDS[(i + j) % len(ENDS)] for j in range(torch.Size(shape).numel())]).reshape(shape)
        for i, shape in enumerate(shapes)
    ]


def _rows(named: Sequence[tuple[str, Any]], parties: Sequence[tuple[int, str]]) -> list[Any]:
    """The slow run has both kinds of every row, each at one of the two parties; the campaign has them at the other."""
    return [
        pytest.param(*given, receiver, secret, id=f"{name}-{party}-{kind}", marks=marks)
        for name, given in named
        for receiver, party in parties
        for secret, kind in ((False, "ends"), (True, "changing"))
        for marks in [[] if secret and name in DEFAULT else _marks(name, kind, parties.index((receiver, party)))]
    ]


def _marks(name: str, kind: str, place: int) -> list[pytest.MarkDecorator]:
    sooner = zlib.crc32(f"{name} {kind}".encode()) % 2 == place
    return [pytest.mark.slow] if sooner else [pytest.mark.slow, pytest.mark.campaign]


BEAVER_ROWS = _rows(
    [(f"{gate.__name__}-{variant}", (build, cases)) for gate, variant, build, cases in GATES], [(0, "p0"), (1, "p1")]
)
REPLICATED_ROWS = _rows([(row.name, (row,)) for row in ROWS], [(FIRST, "p1"), (SECOND, "p2")])


@pytest.mark.parametrize(("build", "cases", "receiver", "secret"), BEAVER_ROWS)
def test_secrets_of_two_parties(
    build: Build, cases: tuple[tuple[Shape, ...], ...], receiver: int, secret: bool
) -> None:
    shapes = cases[0] if secret else small(cases)
    program = beaver_program(build, shapes)
    samples = observe(BEAVER, program, ends(shapes), receiver, secret=secret, least_samples=SAMPLES)
    assert samples is None or samples.findings() == []


@pytest.mark.parametrize(("row", "receiver", "secret"), REPLICATED_ROWS)
def test_secrets_of_three_parties(row: Row, receiver: int, secret: bool) -> None:
    shapes = row.shapes[0] if secret else small(row.shapes)
    program = replicated_program(row, shapes, set())
    samples = observe(REPLICATED, program, ends(shapes), receiver, secret=secret, least_samples=SAMPLES)
    assert samples is None or samples.findings() == []


@pytest.mark.parametrize(
    ("build", "cases"), [pytest.param(build, cases, id=f"{g.__name__}-{v}") for g, v, build, cases in GATES]
)
def test_what_the_dealer_sends_follows_from_its_seeds(build: Build, cases: tuple[tuple[Shape, ...], ...]) -> None:
    """The dealer itself receives nothing: `run_roles` gives it a channel that only sends."""
    shapes = small(cases)
    sent = [
        run_roles(beaver_program(build, shapes), values, seeds=(seed_of(0), seed_of(1)), session=SESSION)[2]["dealer"]
        for values in (ends(shapes), [torch.zeros(shape, dtype=torch.int64) for shape in shapes])
    ]
    assert sent[0] == sent[1]
