"""The finder finds what is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.protocols.joint_view.finding import EXTRA, Bits, leanings, relations


def uniform(samples: int, columns: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, (samples, columns), dtype=np.uint8)


@pytest.mark.parametrize("columns", [1, 7, 63, 64, 65, 300])
def test_uniform_bits_have_none(columns: int) -> None:
    samples = uniform(columns + EXTRA, columns)
    assert relations(samples) == [] and leanings(samples) == []


@pytest.mark.parametrize("members", [(5,), (0, 299), (3, 64, 130), tuple(range(40, 90))])
@pytest.mark.parametrize("constant", [0, 1])
def test_a_planted_relation_is_found_as_it_is(members: tuple[int, ...], constant: int) -> None:
    samples = uniform(300 + EXTRA, 300)
    *others, last = members
    samples[:, last] = samples[:, others].sum(1) + constant & 1
    assert relations(samples) == [members]
    assert leanings(samples) == ([members] if len(members) <= 2 else [])


def test_several_relations_are_a_basis() -> None:
    samples = uniform(100 + EXTRA, 100)
    samples[:, 70] = samples[:, 10] ^ samples[:, 20]
    samples[:, 80] = samples[:, 10] ^ samples[:, 30]
    samples[:, 90] = samples[:, 70] ^ samples[:, 80]
    found = relations(samples)
    assert len(found) == 3
    assert {members[-1] for members in found} == {70, 80, 90}
    assert all(np.ptp(samples[:, members].sum(1) & 1) == 0 for members in found)


def test_what_leans_is_found() -> None:
    samples = uniform(1024, 50)
    samples[:, 40] = samples[:, 3] & samples[:, 4]
    assert relations(samples) == []
    assert leanings(samples) == [(40,), (3, 40), (4, 40)]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="10 columns take 74 samples, here are 73"):
        relations(uniform(73, 10))
