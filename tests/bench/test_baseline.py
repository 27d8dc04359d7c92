"""The guard: what each model costs is what bench/baseline.json says, and its error is within the bound there."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

import pytest

from bench import baseline, results
from bench.baseline import COST_CASES, ERROR_CASES, UPDATE, Case, ModelCost
from tests.checkout import ROOT
from tests.sampling import sampled

ADVICE = f"\nIf the change is meant, run `{UPDATE}` and give both figures in the commit message."
COST = ModelCost(10, 2000, 4000, 1, 600, 0)
SMALL = Case("minilm", "private", 16)


def kept(figures: ModelCost | None, bound: float = 1e-3) -> dict[str, object]:
    costs = {} if figures is None else {SMALL.name: vars(figures)}
    return {"costs": costs, "error_bounds": {SMALL.name: bound}}


def aspects(case: Case) -> Iterable[Hashable]:
    """What the default run has at least once: each model with each family, each kind of weights, each further token."""
    return (case.model, case.protocol), case.weights, case.steps


@pytest.mark.parametrize("case", sampled([pytest.param(case, id=case.name) for case in COST_CASES], aspects))
def test_bytes_and_rounds_are_as_kept(case: Case) -> None:
    differences = baseline.cost_differences(case, baseline.read(), baseline.cost_of(case))
    assert not differences, "\n".join(differences) + ADVICE


@pytest.mark.parametrize(
    "case", sampled([pytest.param(case, id=case.name) for case in ERROR_CASES], lambda case: [case.model])
)
def test_error_is_within_the_bound(case: Case) -> None:
    differences = baseline.error_differences(case, baseline.read(), baseline.error_of(case))
    assert not differences, "\n".join(differences) + ADVICE


def test_the_file_has_these_cases_and_no_others() -> None:
    content = baseline.read()
    assert set(content["costs"]) == {case.name for case in COST_CASES}
    assert set(content["error_bounds"]) == {case.name for case in ERROR_CASES}


def test_measurements_of_other_costs_are_marked() -> None:
    """So that no table passes bytes and rounds of an earlier protocol off as today's."""
    compared, measured = set(), (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    for record in results.load_all():
        case = baseline.measured_case(record)
        if case is None:
            continue
        compared.add(case.name)
        (line,) = (line for line in measured.splitlines() if f"`{record['command']}`" in line)
        assert baseline.is_outdated(record) == line.rstrip(" |").endswith("†"), record["command"]
    whole = {case.name for case in COST_CASES if case.layers is None and case.steps == 1}
    assert whole <= compared, "each of these has been measured"


def test_a_difference_names_case_figure_and_both_values() -> None:
    (line,) = baseline.cost_differences(SMALL, kept(COST), replace(COST, online_bytes=1000))
    assert "minilm private 1x16" in line and "online_bytes is 1,000" in line and "has 2,000 (-50.0%)" in line
    assert baseline.cost_differences(SMALL, kept(COST), COST) == []
    assert "not in baseline.json" in baseline.cost_differences(SMALL, kept(None), COST)[0]


def test_an_error_above_the_bound_is_a_difference() -> None:
    assert baseline.error_differences(SMALL, kept(COST), 9e-4) == []
    assert "allows 1.0e-03" in baseline.error_differences(SMALL, kept(COST), 2e-3)[0]
