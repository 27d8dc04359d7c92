"""The table of our functions beside PUMA's."""

from __future__ import annotations

import pytest

from bench.numerics import Case, cases, measure


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_ours_is_no_less_exact(case: Case) -> None:
    ours, pumas = (measure(function, case.arguments, case.exact) for function in (case.ours, case.pumas))
    assert 0 < ours.max_error < 5e-4
    assert ours.max_error <= 2 * pumas.max_error, "where the formulas are the same, rounding differs"
    assert ours.bytes_per_party > 0 and ours.rounds > 0
