"""GPT-2 with kinds of heads, layers without activation and affine norms: on shares against transformers' GPT-2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.clear_model import reference
from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.request import Request
from secure.models.inputs.token_inputs import with_public_padding
from secure.models.layers import mixtures
from secure.models.layers.causal import KINDS
from secure.models.price import Amount, Price, price
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError
from tests.families import FAMILIES
from tests.models.decoders import padded_at_the_start, save_decoder, words
from tests.models.families.test_gpt2 import several_steps
from tests.models.runs import clear_run, clear_steps, secure_steps
from tests.sampling import product_of

CLEAR_ERROR = 2e-3
SECURE_ERROR = 5e-3
# The first token's weight is s / (s + 2^-7), which changes 128 times as much as a small score s. Scores of these models
# are off by 2^-13, as queries and keys of about two are, each from 24 products with weights that were rounded.
STEEP = {"relu": 2.0**-6}
LAYERS, HEADS = 2, 3
PLANS: dict[str, dict[str, Any]] = {
    **{kind: {"attention_kinds": [[kind] * HEADS] * LAYERS} for kind in KINDS},
    "mixed": {
        "attention_kinds": [["scale", "square", "softmax"], ["square", "scale", "bounded"]],
        "activations": ["none", "relu"],
        "norms": [["layer", "affine"], ["layer", "layer"]],
    },
    "affine": {
        "attention_kinds": [["scale"] * HEADS] * LAYERS,
        "activations": ["gelu_new", "none"],
        "norms": [["affine", "affine"]] * LAYERS,
    },
}
POSITIONS = {"affine": 80, "mixed": 80}
"""More than heads of eight numbers have squares of: there, scaled ones keep sums. Others keep keys."""
BY_NAME = {family.name: family for family in FAMILIES}


def save(folder: Path, plan: str, **changes: Any) -> Any:
    """A random GPT-2 with a plan of `PLANS`. Returns transformers' own model, without the plan."""
    model = save_decoder(folder, "gpt2", **({"n_positions": POSITIONS.get(plan, 20)} | changes))
    say(folder, model_type="mpc_gpt2", **PLANS[plan])
    return model


def say(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@product_of(plan=list(PLANS), padded=[True, False], weights=["private", "public", "server"], family=list(BY_NAME))
def test_steps_with_what_earlier_ones_left_give_what_one_pass_gives(
    plan: str, padded: bool, weights: Any, family: str, tmp_path: Path
) -> None:
    """A prompt, whose padding is secret, and two more tokens."""
    if weights == "server" and family != "beaver":
        weights = "private"
    save(tmp_path, plan)
    ids, mask = padded_at_the_start(words(2, 5)) if padded else (words(2, 5), None)
    steps, due = several_steps(reference(tmp_path), ids, mask, 3)
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    clear = clear_steps(checkpoint, "next_logits", steps)
    secure, _ = secure_steps(checkpoint, tmp_path / "split", "next_logits", steps, family=BY_NAME[family])
    for step, logits in enumerate(due):
        assert float((clear[step]["logits"] - logits).abs().max()) < STEEP.get(plan, CLEAR_ERROR)
        assert float((secure[step]["logits"] - logits).abs().max()) < STEEP.get(plan, SECURE_ERROR)


@pytest.mark.parametrize("plan", list(PLANS))
def test_whole_inputs(plan: str, tmp_path: Path) -> None:
    """Without a step that follows no sums are kept, and padding may be anywhere."""
    save(tmp_path, plan)
    ids, mask = words(2, 6), torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        due = reference(tmp_path)(**inputs).logits
    found = clear_run(read_checkpoint(tmp_path), "logits", inputs)["logits"]
    assert float((found - due)[mask.bool()].abs().max()) < STEEP.get(plan, CLEAR_ERROR)


@pytest.mark.parametrize("plan", ["mixed", "affine"])
def test_padding_that_is_public_counts_as_little_as_that_which_is_secret(plan: str, tmp_path: Path) -> None:
    save(tmp_path, plan)
    ids, mask = padded_at_the_start(words(3, 5))
    steps, due = several_steps(reference(tmp_path), ids, mask, 3)
    checkpoint = read_checkpoint(tmp_path)
    request = network(checkpoint.manifest).request("next_logits", steps[0], steps=len(steps))
    found = clear_steps(checkpoint, "next_logits", steps, with_public_padding(request, mask))
    for step, logits in enumerate(due):
        assert float((found[step]["logits"] - logits).abs().max()) < CLEAR_ERROR


def costs_of_a_token(folder: Path, context: int) -> Amount:
    """What a second step costs, behind a prompt of so many tokens."""
    manifest = manifest_of_folder(folder)

    def of(steps: int) -> Price:
        return price(manifest, Request("next_logits", 1, context, masked=False, steps=steps))

    two, three = of(2).total, of(3).total
    return Amount(three.rounds - two.rounds, three.online_bytes - two.online_bytes)


def test_a_token_behind_scaled_heads_costs_the_same_however_many_there_were(tmp_path: Path) -> None:
    save(tmp_path, "scale", n_positions=80)
    assert costs_of_a_token(tmp_path, 4) == costs_of_a_token(tmp_path, 40)
    say(tmp_path, **PLANS["square"])
    assert costs_of_a_token(tmp_path, 4).online_bytes < costs_of_a_token(tmp_path, 40).online_bytes


def test_with_softmax_alone_it_is_a_gpt2_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, "softmax")
    ours, manifest = read_checkpoint(tmp_path), manifest_of_folder(tmp_path)
    say(tmp_path, model_type="gpt2")
    other = read_checkpoint(tmp_path)
    assert ours.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(ours.tensors[name], other.tensors[name]) for name in other.tensors)
    request = Request("next_logits", 1, 5, masked=True, steps=3)
    assert price(manifest, request) == price(manifest_of_folder(tmp_path), request)


def test_every_kind_of_an_encoder_is_one_of_a_decoder() -> None:
    assert list(KINDS) == list(mixtures.KINDS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention_kinds": [["softmax"] * 2] * LAYERS}, "attention_kinds of layer 0 is a list of 2"),
        ({"attention_kinds": [["softmax"] * HEADS]}, "attention_kinds is a list of 1"),
        ({"attention_kinds": [["linear"] * HEADS] * LAYERS}, "attention_kinds of layer 0 has 'linear'"),
        ({"activations": ["gelu_new", "mish"]}, "activations has 'mish'"),
        ({"norms": [["layer", "batch"]] * LAYERS}, "norms of layer 0 has 'batch'"),
        ({"n_head": 5}, "n_embd 24 is no multiple of n_head 5"),
    ],
)
def test_plans_that_are_wrong_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, "softmax")
    say(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)
