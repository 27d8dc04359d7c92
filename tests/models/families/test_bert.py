"""BERT on shares agrees with transformers, for every configuration that we accept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.program import network
from tests.models.runs import clear_run, secure_run
from tests.sampling import product_of

HIDDEN_ERROR = 3e-3  # two layers: GeLU 1.5e-4 and fixed point through two norms with gains about one
CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16 alone


CASES = {
    "one-token": ({}, 1, 1, False),
    "odd": ({}, 1, 7, False),
    "batch-masked": ({}, 3, 6, True),
    "longest": ({}, 1, 20, False),
    "one-layer": ({"num_hidden_layers": 1}, 2, 5, True),
    "one-head": ({"num_attention_heads": 1}, 1, 4, False),
    "no-pooler": ({"pooler": False}, 1, 5, False),
    "three-types": ({"type_vocab_size": 3}, 2, 4, False),
    "other-epsilon": ({"layer_norm_eps": 1e-5}, 1, 4, False),
}


@product_of(case=list(CASES), weights=["private", "public", "server"])
def test_agrees_with_transformers(
    case: str, weights: str, save_bert: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    changes, batch, tokens, masked = CASES[case]
    folder, reference = save_bert(**changes)
    checkpoint = read_checkpoint(folder, weights=weights)
    ids = torch.randint(0, 61, (batch, tokens))
    types = torch.randint(0, changes.get("type_vocab_size", 2), (batch, tokens))
    mask = torch.ones_like(ids)
    if masked:
        for row in range(batch):
            mask[row, tokens - row :] = 0
    with torch.no_grad():
        due = reference(input_ids=ids, attention_mask=mask, token_type_ids=types)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    assert network(checkpoint.manifest).request("hidden", inputs).masked == masked
    kept = mask.bool()
    runs = (
        (clear_run(checkpoint, "hidden", inputs), CLEAR_ERROR),
        (secure_run(checkpoint, tmp_path / "split", "hidden", inputs), HIDDEN_ERROR),
    )
    for run, bound in runs:
        difference = (run["last_hidden_state"] - due.last_hidden_state)[kept].abs().max()
        assert difference < bound
        assert ("pooler_output" in run) == changes.get("pooler", True)
        if "pooler_output" in run:
            assert (run["pooler_output"] - due.pooler_output).abs().max() < bound + 8e-4  # tanh's own error


def test_embedding_is_the_normalised_masked_mean(save_bert: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    folder, reference = save_bert()
    checkpoint = read_checkpoint(folder)
    ids, mask = torch.randint(0, 61, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 4:] = 0
    with torch.no_grad():
        hidden = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    due = torch.nn.functional.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    found = secure_run(checkpoint, tmp_path / "split", "embedding", {"input_ids": ids, "attention_mask": mask})
    assert (found["embedding"] - due).abs().max() < 1e-3
    assert torch.nn.functional.cosine_similarity(found["embedding"], due).min() > 0.9999


def test_what_is_masked_does_not_matter(save_bert: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    folder, _ = save_bert()
    checkpoint = read_checkpoint(folder)
    ids = torch.randint(0, 61, (1, 6))
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    other = ids.clone()
    other[0, 4:] = (other[0, 4:] + 30) % 61
    first, second = (
        secure_run(checkpoint, tmp_path / "split", "embedding", {"input_ids": x, "attention_mask": mask})
        for x in (ids, other)
    )
    assert (first["embedding"] - second["embedding"]).abs().max() < 2e-4
