"""The exactness and cost benchmark, on its smallest shapes."""

from __future__ import annotations

import pytest
import torch

from bench.ee import cost, exactness
from bench.ee.twins import SHAPES, example, random_model, twins
from secure.protocols.core.errors import ConfigurationError

TINY = [name for name in SHAPES if "tiny" in name]


@pytest.mark.parametrize("shape", [pytest.param("llama, tiny", marks=pytest.mark.slow), "gpt2, tiny", "resnet, tiny"])
def test_differences_keep_to_the_limits(shape: str) -> None:
    lines: list[str] = []
    (row,) = exactness.differences([shape], lines.append)
    assert all(row[label] <= limit for label, limit in exactness.LIMITS.items())
    assert len(lines) == 1


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown shape"):
        exactness.differences(["no such"], print)


def test_greedy_tokens_of_twins_agree() -> None:
    pair = twins(random_model("llama, tiny", torch.float32))
    assert pair.transform.vocabulary is not None
    ids = example(pair.plain)
    due = exactness.greedy(pair.plain, ids, 8)
    found = exactness.greedy(pair.encrypted, pair.transform.vocabulary.encrypt_ids(ids), 8)
    assert torch.equal(pair.transform.vocabulary.decrypt_ids(found), due)
    assert not torch.equal(found, due)


def test_a_token_is_four_bytes() -> None:
    for way in ("bytes_per_token", "bytes_per_token_back"):
        assert cost.wire()[way] == pytest.approx(4.0, abs=0.01)
