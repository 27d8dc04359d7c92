"""Which cases of a large product the default run tries, and of a very large one `make test-all`.

A test that repeats itself (each op in each family, in each form, with each truncation) says here what every sample of
its cases must have. Cases are looked at in the order of a checksum of their names, which has nothing to do with what
they are about. One is taken if it has something that no case taken before it has; the others are marked slow, and
`make test-all` tries them. Of a product that would take hours the others are marked campaign, and `-m campaign` tries
them. So a sample has everything that it must have, it is the same on every machine, and a case that is added changes it
little.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet

Case = ParameterSet
Aspects = Callable[..., Iterable[Hashable]]
"""What one case has, from its values: a sample has each of these of all cases at least once."""


def each_value(*values: Hashable) -> Iterable[Hashable]:
    """A sample has every value of every argument."""
    return enumerate(values)


def sampled(
    cases: Iterable[Case], aspects: Aspects = each_value, left_out: pytest.MarkDecorator = pytest.mark.slow
) -> list[Case]:
    """All cases, in their order, of which those that the sample leaves out are marked so. Each needs an id."""
    cases, seen, taken = list(cases), set[Hashable](), set[str]()
    for case in sorted(cases, key=lambda case: zlib.crc32(_name(case).encode())):
        new = set(aspects(*case.values)) - seen
        if new:
            seen |= new
            taken.add(_name(case))
    return [
        case if _name(case) in taken else pytest.param(*case.values, id=case.id, marks=(*case.marks, left_out))
        for case in cases
    ]


def product_of(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """`parametrize` over all combinations, sampled so that every value is there. A value's name is its text."""
    combinations = [
        pytest.param(*values, id="-".join(str(value) for value in values))
        for values in itertools.product(*axes.values())
    ]
    return pytest.mark.parametrize(tuple(axes), sampled(combinations, _each_text))


def _each_text(*values: object) -> Iterable[Hashable]:
    return enumerate(map(str, values))


def _name(case: Case) -> str:
    assert isinstance(case.id, str), "a case that may be left out needs a name"
    return case.id
