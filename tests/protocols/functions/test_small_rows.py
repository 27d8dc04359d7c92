"""Wide rows of little spread: squares that are added up in groups are rounded once, whatever the number of groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secure.protocols.core.primitives import square_sum
from secure.protocols.core.secret import Secret
from secure.protocols.functions import layernorm
from tests.families import ALL_FAMILIES
from tests.in_process import EXACT, POLICY, Family, secure
from tests.protocols.arguments import ULP

EPSILON = 2.0**-40
BITS = 24


def small_rows(width: int, count: int) -> Tensor:
    """Rows with a mean square just above 2^-20, each number a multiple of 2^-16 of its own."""
    generator = torch.Generator().manual_seed(width)
    rows = torch.randn(count, width, generator=generator, dtype=torch.float64)
    rows = rows / rows.square().mean(-1, keepdim=True).sqrt() * 1.05 * 2.0**-10
    return torch.round(rows / ULP) * ULP


def rounded_sum(x: Secret) -> Secret:
    return square_sum(x, fraction_bits=BITS)


@pytest.mark.parametrize("policy", [POLICY, EXACT], ids=lambda policy: policy.truncation)
@pytest.mark.parametrize("family", ALL_FAMILIES, ids=lambda family: family.name)
def test_sums_in_groups_are_off_by_one_unit_at_most(family: Family, policy: object) -> None:
    x = torch.cat([small_rows(500, 200), small_rows(500, 40) * 4096, torch.full((1, 500), 8191.0)])
    found = secure(rounded_sum, x, family=family, policy=policy).real
    off = (found - x.square().sum(-1, keepdim=True)) * 2.0**BITS
    assert float(off.abs().max()) < 1 + 2.0**-8
    assert float(off.min()) < -0.1, "rows of which nothing is rounded tell nothing"


@pytest.mark.parametrize("family", ALL_FAMILIES, ids=lambda family: family.name)
def test_small_wide_rows_are_normalised_as_declared(family: Family) -> None:
    """The error of the inverse root is common to a row, and stays what `full_range_rms_norm` declares."""
    for width, count in ((384, 400), (2048, 40)):
        x = small_rows(width, 1).expand(count, width)
        found = secure(
            lambda x, gain: layernorm.full_range_rms_norm(x, gain, EPSILON),
            x,
            torch.ones(width, dtype=torch.float64),
            family=family,
        ).real
        due = x / x.square().mean(-1, keepdim=True).sqrt()
        relative = ((found - due) * due).sum(-1) / due.square().sum(-1)
        assert float(relative.abs().max()) <= 4e-5
