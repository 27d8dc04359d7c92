"""Figures of answers' times."""

from __future__ import annotations

import pytest

from bench.gateway import _figures, numbers_of
from secure.protocols.core.errors import ConfigurationError


def test_runs_are_put_together() -> None:
    found = _figures([[0.5] * 30, [1.0] * 10], seconds=10.0)
    assert (found["rate"], found["least_rate"], found["most_rate"]) == (2.0, 1.0, 3.0)
    assert (found["p50"], found["p95"]) == (0.5, 1.0)


def test_too_few_answers_say_nothing() -> None:
    with pytest.raises(ConfigurationError, match="more --seconds"):
        _figures([[0.5]], seconds=1.0)


@pytest.mark.parametrize("text", ["", "a", "0,8"])
def test_what_is_no_list_of_callers(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 1,8,32"):
        numbers_of(text)
