"""LLaMA, Mistral, Qwen2 and Qwen3 on shares agree with transformers, for every configuration that we accept."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, read_manifest, split_checkpoint
from secure.models.contract.manifest import VISIBILITIES, Manifest, WeightVisibility
from secure.models.contract.request import Output
from secure.models.program import network
from secure.protocols.core.errors import InputError
from tests.models.decoders import (
    LLAMA_KIN,
    ROPE_PARAMETERS,
    WINDOWS_BY_LAYER,
    padded_at_the_start,
    plain,
    save_decoder,
    words,
)
from tests.models.runs import clear_steps, secure_steps
from tests.sampling import product_of

SPREAD = 0.12  # of weights: logits of about two
CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16; 5.2e-4 is the most that was seen
SECURE_ERROR = 5e-3  # of logits of two to three: SiLU 1e-3 through a product; 3.5e-3 is the most that was seen
ROPE: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 20,
    },
    "yarn": {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 30},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "short_factor": [1.1, 1.9],
        "long_factor": [2.0, 7.0],
        "original_max_position_embeddings": 20,
    },
}
VARIANTS: dict[str, tuple[str, dict[str, Any], WeightVisibility]] = {
    **{f"{family}-{weights}": (family, {}, weights) for family in LLAMA_KIN for weights in VISIBILITIES},
    "every-head-its-keys": ("llama", {"num_key_value_heads": None}, "private"),
    "one-key-head": ("llama", {"num_key_value_heads": 1}, "private"),
    "wide-heads": ("llama", {"head_dim": 10, "num_key_value_heads": 2}, "private"),
    "tied": ("llama", {"tie_word_embeddings": True}, "private"),
    "attention-bias": ("llama", {"attention_bias": True}, "private"),
    "mlp-bias": ("llama", {"mlp_bias": True}, "public"),
    "gelu": ("llama", {"hidden_act": "gelu"}, "private"),
    "gelu-tanh": ("llama", {"hidden_act": "gelu_pytorch_tanh"}, "public"),
    "relu": ("llama", {"hidden_act": "relu"}, "private"),
    "other-epsilon": ("llama", {"rms_norm_eps": 1e-2, "num_hidden_layers": 1}, "private"),
    **{f"rope-{name}": ("llama", {"rope_parameters": rope}, "private") for name, rope in ROPE.items()},
    "mistral-window": ("mistral", {"sliding_window": 3}, "private"),
    "mistral-window-of-one": ("mistral", {"sliding_window": 1}, "public"),
    "mistral-wide-window": ("mistral", {"sliding_window": 30}, "private"),
    "mistral-tied-wide": ("mistral", {"head_dim": 8, "tie_word_embeddings": True}, "private"),
    "qwen2-tied-public": ("qwen2", {"tie_word_embeddings": True}, "public"),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": 2, "max_window_layers": 1}, "private"),
    "qwen2-layer-types": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]},
        "private",
    ),
    "qwen3-bias": ("qwen3", {"attention_bias": True, "head_dim": 6}, "private"),
    "qwen3-tied-window": (
        "qwen3",
        {"tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 2, "max_window_layers": 1},
        "private",
    ),
    "qwen3-default-width": ("qwen3", {"head_dim": 128, "num_hidden_layers": 1}, "private"),
}


def check_reference(changes: dict[str, Any]) -> None:
    """Skip what the installed transformers does not compute as its later releases do."""
    if changes.get("use_sliding_window") and not WINDOWS_BY_LAYER:
        pytest.skip("this transformers has no windows of some layers on a CPU")
    if changes.get("rope_parameters", {}).get("rope_type") in ("yarn", "longrope") and not ROPE_PARAMETERS:
        pytest.skip("this transformers takes lengths and factors of yarn and longrope from other fields")


def both(
    checkpoint: Checkpoint, folder: Path, output: Output, inputs: list[dict[str, Tensor | None]]
) -> list[tuple[list[Tensor], float]]:
    """What both runs give at every step, and the error that each may have."""
    clear, (secure, _) = clear_steps(checkpoint, output, inputs), secure_steps(checkpoint, folder, output, inputs)
    runs = ((clear, CLEAR_ERROR), (secure, SECURE_ERROR))
    return [([tensor.double() for outputs in run for tensor in outputs.values()], bound) for run, bound in runs]


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_every_configuration(variant: str, tmp_path: Path) -> None:
    family, changes, weights = VARIANTS[variant]
    check_reference(changes)
    reference = save_decoder(tmp_path, family, spread=SPREAD, **changes)
    ids, mask = padded_at_the_start(words(2, 6))
    due = plain(reference, ids, mask).logits.double()
    inputs: list[dict[str, Tensor | None]] = [{"input_ids": ids, "attention_mask": mask}]
    for (found,), bound in both(read_checkpoint(tmp_path, weights=weights), tmp_path / "split", "logits", inputs):
        assert found.shape == due.shape
        assert float((found - due)[mask.bool()].abs().max()) < bound


@product_of(
    variant=["llama-public", "rope-yarn", "mistral-window", "qwen2-layer-types", "qwen3-private"],
    padded=[False, True],
)
def test_steps_with_a_cache(variant: str, padded: bool, tmp_path: Path) -> None:
    """Each step's logits are those that transformers computes from all tokens so far, without a cache."""
    family, changes, weights = VARIANTS[variant]
    check_reference(changes)
    reference = save_decoder(tmp_path, family, spread=SPREAD, **changes)
    ids, mask = padded_at_the_start(words(3, 7))
    first = 5
    given = mask[:, :first] if padded else None
    inputs: list[dict[str, Tensor | None]] = [{"input_ids": ids[:, :first], "attention_mask": given}]
    inputs += [{"input_ids": ids[:, i : i + 1], "attention_mask": given} for i in range(first, 7)]
    due = plain(reference, ids, mask if padded else None).logits.double()
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    for found, bound in both(checkpoint, tmp_path / "split", "next_logits", inputs):
        assert len(found) == 3
        for step, logits in enumerate(found):
            assert float((logits - due[:, first - 1 + step]).abs().max()) < bound, step


@pytest.mark.parametrize(
    ("family", "changes"), [("llama", {}), ("qwen2", {"tie_word_embeddings": True}), ("qwen3", {})]
)
def test_hidden_states(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Of a checkpoint without a head, and of one with a head that is left out."""
    reference = save_decoder(tmp_path / "body", family, head=False, spread=SPREAD, **changes)
    whole = save_decoder(tmp_path / "whole", family, spread=SPREAD, **changes)
    ids = words(1, 5)
    for folder, model in ((tmp_path / "body", reference), (tmp_path / "whole", whole.model)):
        checkpoint = read_checkpoint(folder, head=folder.name == "body")
        assert "head.weight" not in checkpoint.tensors
        due = plain(model, ids).last_hidden_state.double()
        for (found,), bound in both(checkpoint, folder / "split", "hidden", [{"input_ids": ids}]):
            assert float((found - due).abs().max()) < bound


@pytest.mark.slow
def test_greedy_tokens_are_those_of_plaintext(tmp_path: Path) -> None:
    """64 tokens after the plaintext's own, at a margin that exceeds twice the error: then no choice can differ."""
    changes = {"num_hidden_layers": 1, "max_position_embeddings": 80, "eos_token_id": None}
    reference = save_decoder(tmp_path, "llama", seed=40, **changes)
    prompt = words(1, 4)
    with torch.no_grad():
        ids = reference.generate(prompt, do_sample=False, max_new_tokens=64, pad_token_id=0)
    due = plain(reference, ids).logits.double()[0, 3:-1]
    highest = due.topk(2).values
    assert float((highest[:, 0] - highest[:, 1]).min()) > 2 * SECURE_ERROR
    assert torch.equal(due.argmax(-1), ids[0, 4:])
    inputs = [{"input_ids": prompt}, *({"input_ids": ids[:, i : i + 1]} for i in range(4, 67))]
    found, _ = secure_steps(read_checkpoint(tmp_path), tmp_path / "split", "next_logits", inputs)
    logits = torch.cat([outputs["logits"] for outputs in found]).double()
    assert torch.equal(logits.argmax(-1), ids[0, 4:])
    assert float((logits - due).abs().max()) < SECURE_ERROR


def test_traffic_of_a_token_stops_growing_at_the_window(tmp_path: Path) -> None:
    save_decoder(tmp_path, "mistral", sliding_window=2, num_hidden_layers=1)
    checkpoint = read_checkpoint(tmp_path)
    ids = words(1, 5)
    inputs = [{"input_ids": ids[:, i : i + 1]} for i in range(5)]
    totals = []
    for steps in (3, 4, 5):
        _, meters = secure_steps(checkpoint, tmp_path / f"split{steps}", "next_logits", inputs[:steps])
        totals.append(meters["p1"].total)
    fourth, fifth = (
        (
            after.rounds - before.rounds,
            after.online_bytes - before.online_bytes,
            after.dealer_bytes - before.dealer_bytes,
        )
        for before, after in pairwise(totals)
    )
    assert fourth == fifth


def test_a_split_folder_is_read_back(tmp_path: Path) -> None:
    save_decoder(tmp_path, "qwen2", **VARIANTS["qwen2-window"][1])
    manifest = split_checkpoint(tmp_path, tmp_path / "split")
    found = read_manifest(tmp_path / "split")
    assert found == manifest and Manifest.from_json(found.to_json()).digest == manifest.digest
    assert network(found).config == network(read_checkpoint(tmp_path).manifest).config  # type: ignore[attr-defined]


def test_sharded_halves_and_stored_frequencies_read_the_same(tmp_path: Path) -> None:
    """As meta-llama/Llama-2-7b-hf is stored: several files, half precision, a buffer in every layer."""
    reference = save_decoder(tmp_path, "llama", tie_word_embeddings=True).half()
    reference.save_pretrained(tmp_path)
    due = read_checkpoint(tmp_path)
    whole = dict(due.tensors)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    (tmp_path / "model.safetensors").unlink()
    weight_map = {name: f"part{number % 3}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    found = read_checkpoint(tmp_path)
    assert found.manifest == due.manifest
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in whole.items())


def test_longrope_ends_where_its_factors_for_long_inputs_begin(tmp_path: Path) -> None:
    save_decoder(tmp_path, "llama", rope_parameters=ROPE["longrope"])
    net = network(read_checkpoint(tmp_path).manifest)
    ids = words(1, 18)
    net.validate(net.request("next_logits", {"input_ids": ids}, steps=3))
    with pytest.raises(InputError, match="room for 20 together"):
        net.validate(net.request("next_logits", {"input_ids": ids}, steps=4))
