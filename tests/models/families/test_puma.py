"""Models with PUMA's functions: secure and in the clear they agree, and no model computes with both sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.graph.capture import capture
from secure.protocols.cleartext.protocol import ClearSecret, CleartextProtocol
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.functions import policy_functions, puma
from tests.families import FAMILIES
from tests.in_process import Family
from tests.models.decoders import padded_at_the_start, save_decoder, words
from tests.models.images import pixels, save_vit
from tests.models.runs import clear_run, clear_steps, secure_run, secure_steps
from tests.sampling import sampled

PUMA = FixedPointPolicy(functions="puma")
SECURE_ERROR = 1.5e-3  # of fixed point alone: both sides compute by the same formulas
FORMULAS_DIFFER = 1e-3  # what they change in these models, at least

by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def by_family_and(name: str, values: Sequence[Any]) -> pytest.MarkDecorator:
    """Every family, and every value."""
    cases = [pytest.param(family, value, id=f"{family.name}-{value}") for family in FAMILIES for value in values]
    return pytest.mark.parametrize(("family", name), sampled(cases, lambda family, value: [family.name, value]))


@by_family_and("tokens", [1, 7])
def test_an_encoder(family: Family, tokens: int, save_bert: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    folder, reference = save_bert()
    ids = torch.randint(0, reference.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1, max(tokens // 2, 1) :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    checkpoint = read_checkpoint(folder, policy=PUMA)
    due = clear_run(checkpoint, "hidden", inputs)["last_hidden_state"]
    found = secure_run(checkpoint, tmp_path / "split", "hidden", inputs, family)["last_hidden_state"]
    assert float((found - due)[mask.bool()].abs().max()) < SECURE_ERROR
    ours = clear_run(read_checkpoint(folder), "hidden", inputs)["last_hidden_state"]
    assert float((ours - due)[mask.bool()].abs().max()) > FORMULAS_DIFFER


@by_family_and("kind", ["llama", "gpt2"])
def test_a_decoder(family: Family, kind: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, kind, spread=0.1)
    ids, mask = padded_at_the_start(words(2, 5))
    steps = [{"input_ids": ids, "attention_mask": mask}]
    steps += [{"input_ids": words(2, 1, seed), "attention_mask": mask} for seed in (8, 9)]
    checkpoint = read_checkpoint(tmp_path, policy=PUMA)
    due = clear_steps(checkpoint, "next_logits", steps)
    found, _ = secure_steps(checkpoint, tmp_path / "split", "next_logits", steps, family=family)
    ours = clear_steps(read_checkpoint(tmp_path), "next_logits", steps)
    for step, answer in enumerate(due):
        assert float((found[step]["logits"] - answer["logits"]).abs().max()) < SECURE_ERROR
        assert float((ours[step]["logits"] - answer["logits"]).abs().max()) > FORMULAS_DIFFER


@by_family
def test_images(family: Family, tmp_path: Path) -> None:
    inputs = {"pixel_values": pixels(2, save_vit(tmp_path))}
    checkpoint = read_checkpoint(tmp_path, policy=PUMA)
    due = clear_run(checkpoint, "logits", inputs)["logits"]
    found = secure_run(checkpoint, tmp_path / "split", "logits", inputs, family)["logits"]
    assert float((found - due).abs().max()) < SECURE_ERROR


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "softmax"])
def test_the_policy_chooses(name: str) -> None:
    line = torch.linspace(-9, 5, 101, dtype=torch.float64)
    function, formula = {
        "gelu": (policy_functions.gelu, puma.gelu),
        "gelu_tanh": (policy_functions.gelu_tanh, puma.gelu),
        "silu": (policy_functions.silu, puma.silu),
        "softmax": (policy_functions.softmax, puma.softmax),
    }[name]
    found = [function(ClearSecret(CleartextProtocol(policy), 16, line)) for policy in (PUMA, FixedPointPolicy())]
    due = formula(ClearSecret(CleartextProtocol(PUMA), 16, line))
    values = [secret.value for secret in (*found, due) if isinstance(secret, ClearSecret)]
    assert torch.equal(values[0], values[2])
    assert float((values[1] - values[2]).abs().max()) > FORMULAS_DIFFER


def test_manifest_and_policy_have_other_digests(save_bert: Callable[..., tuple[Path, Any]]) -> None:
    folder, _ = save_bert()
    ours, pumas = read_checkpoint(folder).manifest, read_checkpoint(folder, policy=PUMA).manifest
    assert ours.digest != pumas.digest
    assert ours.policy.digest() != pumas.policy.digest()
    assert type(pumas).from_json(pumas.to_json()) == pumas


@by_family
def test_a_captured_module(family: Family, tmp_path: Path) -> None:
    """On an example that brings SiLU close to 4, where PUMA's is off most."""
    norm = torch.nn.LayerNorm(5)
    torch.nn.init.constant_(norm.weight, 1.95)
    module = torch.nn.Sequential(norm, torch.nn.SiLU(), torch.nn.Softmax(-1)).eval().requires_grad_(False)
    example = torch.tensor([[-0.5, -0.5, -0.5, -0.5, 2.0], [3.0, 1.0, 4.0, 1.0, 5.0]])
    checkpoint = capture(module, example, policy=PUMA)
    assert checkpoint.manifest.policy == PUMA
    (due,) = clear_run(checkpoint, "hidden", {"input": example}).values()
    (found,) = secure_run(checkpoint, tmp_path, "hidden", {"input": example}, family).values()
    assert float((found - due).abs().max()) < SECURE_ERROR
    assert float((found - module(example)).abs().max()) > FORMULAS_DIFFER
