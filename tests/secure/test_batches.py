"""A large vocabulary makes long one-hot vectors, so that fewer tokens travel together."""

from __future__ import annotations

import pytest

from secure.tokens import batches


@pytest.mark.parametrize(
    ("one_hot", "most_tokens"), [(1, 256), (30_524, 256), (50_266, 155), (250_003, 31), (10_000_000, 0)]
)
def test_tokens_of_a_batch(one_hot: int, most_tokens: int) -> None:
    found = batches([[7]] * 600, 1000, padding=1, one_hot=one_hot)
    assert sum(len(batch.rows) for batch in found) == 600
    assert max(batch.input_ids.numel() for batch in found) == max(most_tokens, 1)
