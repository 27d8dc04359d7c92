"""Batches: similar lengths together, none too large, every sentence once."""

from __future__ import annotations

import pytest
import torch

from secure.tokens import MOST_BATCH_TOKENS, batches, pad


def test_pad() -> None:
    ids, mask = pad([[5, 6, 7], [8]], padding=9)
    assert torch.equal(ids, torch.tensor([[5, 6, 7], [8, 9, 9]]))
    assert torch.equal(mask, torch.tensor([[1, 1, 1], [1, 0, 0]]))


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_every_sentence_once_in_batches_of_bounded_size(batch_size: int) -> None:
    lengths = [(7 * i) % 130 + 1 for i in range(60)] + [300]
    ids = [[i] * length for i, length in enumerate(lengths)]
    found = batches(ids, batch_size, padding=-1)
    assert sorted(row for batch in found for row in batch.rows) == list(range(len(ids)))
    for batch in found:
        assert batch.input_ids.shape == batch.attention_mask.shape
        assert len(batch.rows) == len(batch.input_ids) <= batch_size
        assert batch.input_ids.numel() <= MOST_BATCH_TOKENS or len(batch.rows) == 1
        for row, tokens, mask in zip(batch.rows, batch.input_ids, batch.attention_mask, strict=True):
            assert tokens[mask.bool()].tolist() == ids[row]
            assert (tokens[~mask.bool()] == -1).all()
