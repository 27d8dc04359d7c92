"""Softmax over rows of any length: in long ones shares of the whole are small, and many of them add up."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Secret
from secure.protocols.functions import policy_functions, softmax
from tests.families import FAMILIES
from tests.in_process import EXACT, POLICY, Family, secure
from tests.protocols.arguments import on_grid
from tests.protocols.test_conformance import check_costs

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
lengths = pytest.mark.parametrize("length", [513, 1000, 2048, 4096])
LEAST, LARGEST = 0.0, 1 / 4 - 2.0**-16  # what a score is above its coarse maximum: sums differ by a factor of 2^(1/4)


def rows_of(length: int) -> Tensor:
    """Rows of equal scores, and of one that is far above random ones."""
    generator = torch.Generator().manual_seed(length)
    peaked = torch.randn(2, length, generator=generator, dtype=torch.float64)
    peaked[:, 7] = 9.0
    equal = torch.tensor([[LEAST], [LARGEST], [-1000.0], [1799.9]], dtype=torch.float64).expand(4, length)
    return on_grid(torch.cat([equal, peaked]))


def mixed(scores: Secret, values: Secret) -> Secret:
    return policy_functions.softmax(scores, base_two=True) @ values


@families
@lengths
def test_a_mixture_errs_no_more_than_one_of_a_short_row(length: int, family: Family) -> None:
    """The inverse of a sum near 512 halved twice is off by one unit in 512, and so is that of 4096 by 22 bits."""
    scores, values = rows_of(length), torch.full((length, 2), 50.0, dtype=torch.float64)
    values[:, 1] = on_grid(torch.linspace(-50.0, 100.0, length, dtype=torch.float64))
    due = torch.softmax(scores * math.log(2.0), -1) @ values
    run = secure(mixed, scores, values, family=family)
    assert float((run.real - due).abs().max() / 50.0) < 1 / 256
    check_costs(run, family)


@families
@lengths
def test_floors_add_up_to_less_than_the_whole(length: int, family: Family) -> None:
    """What the docstring says of exact truncation: up to a unit of each share is missing."""
    run = secure(lambda s: softmax.softmax(s, base_two=True).sum(-1), rows_of(length), policy=EXACT, family=family)
    short = 1.0 - run.real
    assert float(short.max()) <= length * 2.0**-16 + 1 / 256
    assert float(short.min()) > -1 / 256


def depths_of(length: int) -> Tensor:
    """Rows of one large score, at and between multiples of a quarter, and all others alike and far below it."""
    depth, largest = torch.meshgrid(
        torch.linspace(14.9, 15.7, 17, dtype=torch.float64),
        torch.tensor([0.0, 2.0**-16, 1 / 8, LARGEST, 1799.0, -1700.03], dtype=torch.float64),
        indexing="ij",
    )
    scores = (largest - depth).reshape(-1, 1).expand(-1, length).clone()
    scores[:, length // 2] = largest.reshape(-1)
    return on_grid(scores)


@families
@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
@pytest.mark.parametrize("length", [1, 2, 5, 9, 64, 512, 1500])
def test_declared_error_where_all_but_one_vanish(length: int, policy: FixedPointPolicy, family: Family) -> None:
    scores = depths_of(length)
    run = secure(lambda s: softmax.softmax(s, base_two=True), scores, policy=policy, family=family)
    error = float((run.real - torch.softmax(scores * math.log(2.0), -1)).abs().max())
    declared = 1e-4 + 3.1e-5 * (length - 1)
    assert error <= declared
    assert length < 64 or error >= 0.5 * declared, "the claim should say how bad these rows are"


@families
def test_inverses_of_short_rows_are_as_coarse_as_before(family: Family) -> None:
    for length, halvings, due in ((512, 0, 16), (512, 2, 16), (513, 0, 22)):
        scores = torch.zeros(1, length, dtype=torch.float64)
        run = secure(
            lambda s, halvings=halvings: softmax.inverse_sum(
                softmax.exponentials(s, base_two=True, halvings=halvings), halvings
            ),
            scores,
            policy=POLICY,
            family=family,
        )
        assert run.fraction_bits == due
