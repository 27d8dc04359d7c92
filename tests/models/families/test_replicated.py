"""Models on the replicated family against transformers: nothing of a model knows which family computes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.models.checkpoint.conversion import read_checkpoint, read_share, split_checkpoint, write_split
from secure.protocols.core.errors import CheckpointError
from tests.families import REPLICATED
from tests.models.decoders import padded_at_the_start, plain, save_decoder, words
from tests.models.families.test_gpt2 import SECURE_ERROR, several_steps
from tests.models.families.test_llama import SECURE_ERROR as LLAMA_ERROR
from tests.models.families.test_llama import SPREAD as LLAMA_SPREAD
from tests.models.families.test_vit import SECURE_ERROR as VIT_ERROR
from tests.models.images import pixels, save_vit
from tests.models.images import plain as plain_vit
from tests.models.runs import secure_run, secure_steps
from tests.sampling import product_of

HIDDEN_ERROR = 5e-3


@product_of(weights=["private", "public"], rows=[(1, 1, False), (1, 7, False), (3, 6, True)])
def test_bert_agrees_with_transformers(
    save_bert: Callable[..., tuple[Path, Any]], weights: Any, rows: tuple[int, int, bool], tmp_path: Path
) -> None:
    batch, tokens, padded = rows
    folder, reference = save_bert()
    checkpoint = read_checkpoint(folder, weights=weights)
    ids = torch.randint(0, reference.config.vocab_size, (batch, tokens), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, 2:] = 0
    with torch.inference_mode():
        due = reference(input_ids=ids, attention_mask=mask)
    inputs = {"input_ids": ids, "attention_mask": mask}
    found = secure_run(checkpoint, tmp_path / "split", "hidden", inputs, REPLICATED)
    assert float((found["last_hidden_state"] - due.last_hidden_state)[mask.bool()].abs().max()) < HIDDEN_ERROR
    assert float((found["pooler_output"] - due.pooler_output).abs().max()) < HIDDEN_ERROR
    embedding = secure_run(checkpoint, tmp_path / "again", "embedding", inputs, REPLICATED)["embedding"]
    assert float((embedding.norm(dim=1) - 1).abs().max()) < 1e-3


@pytest.mark.parametrize("weights", ["private", "public"])
def test_gpt2_steps_with_a_cache(weights: Any, tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    ids, mask = padded_at_the_start(words(3, 6))
    steps, due = several_steps(reference, ids, mask, 4)
    found, _ = secure_steps(checkpoint, tmp_path / "split", "next_logits", steps, family=REPLICATED)
    for step, logits in enumerate(due):
        assert float((found[step]["logits"] - logits).abs().max()) < SECURE_ERROR


def test_gpt2_the_likeliest_token_alone(tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    steps, due = several_steps(reference, words(2, 4), None, 3)
    found, _ = secure_steps(read_checkpoint(tmp_path), tmp_path / "split", "next_token", steps, family=REPLICATED)
    for step, logits in enumerate(due):
        best = logits.topk(2).values
        clear = best[:, 0] - best[:, 1] > 2 * SECURE_ERROR
        (name,) = found[step]
        assert torch.equal(found[step][name].reshape(-1)[clear].long(), logits.argmax(-1)[clear])


def test_any_two_share_files_are_the_model_and_one_is_not(tmp_path: Path) -> None:
    reference = save_decoder(tmp_path, "gpt2")
    assert plain(reference, words(1, 2)).logits is not None
    checkpoint = read_checkpoint(tmp_path)
    manifest = write_split(checkpoint, tmp_path / "split", protocol="replicated")
    parts = [read_share(tmp_path / "split" / f"p{i}.safetensors", manifest, f"p{i}") for i in range(3)]
    assert manifest.protocol == "replicated" and set(manifest.share_digests) == {"p0", "p1", "p2"}
    for name, whole in checkpoint.tensors.items():
        first, second = parts[0][name], parts[1][name]
        assert torch.equal((first[0] + first[1] + second[1]).to(whole.dtype), whole)
        assert torch.equal(first[1], second[0])
        assert not torch.equal((first[0] + first[1]).to(whole.dtype), whole)


def test_a_share_file_of_the_other_family_is_refused(tmp_path: Path) -> None:
    save_decoder(tmp_path, "gpt2")
    manifest = split_checkpoint(tmp_path, tmp_path / "three", protocol="replicated")
    other = split_checkpoint(tmp_path, tmp_path / "two")
    assert manifest.digest != other.digest
    with pytest.raises(CheckpointError, match="its hash differs"):
        read_share(tmp_path / "two" / "p0.safetensors", manifest, "p0")


@pytest.mark.parametrize("weights", ["private", "public"])
def test_vit_agrees_with_transformers(weights: Any, tmp_path: Path) -> None:
    reference = save_vit(tmp_path)
    images = pixels(2, reference)
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    found = secure_run(checkpoint, tmp_path / "split", "logits", {"pixel_values": images}, REPLICATED)
    assert float((found["logits"] - plain_vit(reference, images)["logits"]).abs().max()) < VIT_ERROR


@pytest.mark.parametrize(("name", "weights"), [("llama", "private"), ("llama", "public"), ("qwen3", "private")])
def test_llama_steps_with_a_cache(name: str, weights: Any, tmp_path: Path) -> None:
    """RMSNorm, SiLU, rotations and grouped heads; Qwen3's have norms of their own."""
    reference = save_decoder(tmp_path, name, spread=LLAMA_SPREAD)
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    ids, mask = padded_at_the_start(words(2, 5))
    steps, due = several_steps(reference, ids, mask, 3)
    found, _ = secure_steps(checkpoint, tmp_path / "split", "next_logits", steps, family=REPLICATED)
    for step, logits in enumerate(due):
        assert float((found[step]["logits"] - logits).abs().max()) < LLAMA_ERROR
