"""A sample has all that it must have, and what it leaves out runs with the slow tests."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable

import pytest

from tests.sampling import Case, product_of, sampled

CASES = [pytest.param(*values, id="-".join(map(str, values))) for values in itertools.product("abcdefg", range(9))]


def taken(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if pytest.mark.slow not in case.marks]


def test_every_value_is_tried_and_most_combinations_are_left_to_the_whole_run() -> None:
    cases = sampled(CASES)
    assert [(case.values, case.id) for case in cases] == [(case.values, case.id) for case in CASES]
    letters, numbers = zip(*(case.values for case in taken(cases)), strict=True)
    assert set(letters) == set("abcdefg") and set(numbers) == set(range(9))
    assert 9 <= len(letters) <= 15
    assert all(pytest.mark.slow in case.marks for case in cases if case not in taken(cases))


def test_what_a_sample_must_have_may_be_said() -> None:
    def pairs(letter: str, number: int) -> Iterable[Hashable]:
        return [(letter, number % 2)]

    found = [case.values for case in taken(sampled(CASES, pairs))]
    assert len(found) == 14 and {(letter, number % 2) for letter, number in found} == set(
        itertools.product("abcdefg", (0, 1))
    )


def test_marks_of_a_case_stay() -> None:
    first, second = sampled([pytest.param(1, id="a", marks=pytest.mark.processes), CASES[0]], lambda *values: ["one"])
    assert pytest.mark.processes in first.marks
    assert len(taken([first, second])) == 1


def test_values_without_a_hash_are_told_apart_by_their_text() -> None:
    cases = product_of(shape=[[1], [2]], options=[{}, {"a": 1}, {"a": 2}]).args[1]
    assert len(cases) == 6 and len(taken(cases)) in (3, 4)
