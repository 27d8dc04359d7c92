"""BERT with kinds of heads, layers without activation and affine norms: on shares against transformers' BERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.clear_model import reference
from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint
from secure.models.layers.mixtures import KINDS
from secure.protocols.core.errors import CheckpointError
from tests.families import FAMILIES
from tests.models.decoders import words
from tests.models.kin import save_model
from tests.models.runs import clear_run, secure_run, secure_steps
from tests.sampling import product_of

CLEAR_ERROR = 5e-4
SECURE_ERROR = 1e-3
LAYERS, HEADS = 2, 4
PLANS: dict[str, dict[str, Any]] = {
    **{kind: {"attention_kinds": [[kind] * HEADS] * LAYERS} for kind in KINDS},
    "mixed": {
        "attention_kinds": [["scale", "relu", "softmax", "square"], ["softmax", "scale", "scale", "relu"]],
        "activations": ["none", "relu"],
        "norms": [["layer", "affine"], ["affine", "layer"]],
    },
    "linear": {"attention_kinds": [["scale"] * HEADS] * LAYERS, "activations": ["none"] * LAYERS},
    "affine": {
        "attention_kinds": [["scale"] * HEADS] * LAYERS,
        "activations": ["gelu", "none"],
        "norms": [["affine", "affine"]] * LAYERS,
    },
}
SIZES: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": HEADS}
BY_NAME = {family.name: family for family in FAMILIES}


def save(folder: Path, plan: str, head: str = "sequence") -> Any:
    """A random BERT with a plan of `PLANS`. Returns transformers' own model, without the plan."""
    model = save_model(folder, "bert", head, **SIZES)
    say(folder, model_type="mpc_bert", **PLANS[plan])
    return model


def say(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def inputs_of(masked: bool) -> dict[str, torch.Tensor]:
    """Two texts of 9 tokens, of which the second one has 5 and padding after them."""
    ids, mask = words(2, 9), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask} if masked else {"input_ids": ids}


def plain(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: value for name, value in model(**inputs).items() if value is not None}


@product_of(
    plan=list(PLANS),
    masked=[True, False],
    weights=["private", "public", "server"],
    family=list(BY_NAME),
)
def test_logits(plan: str, masked: bool, weights: Any, family: str, tmp_path: Path) -> None:
    if weights == "server" and family != "beaver":
        weights = "private"
    save(tmp_path, plan)
    inputs = inputs_of(masked)
    due = plain(reference(tmp_path), inputs)["logits"]
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    clear = clear_run(checkpoint, "logits", inputs)["logits"]
    found = secure_run(checkpoint, tmp_path / "split", "logits", inputs, BY_NAME[family])["logits"]
    assert float((clear - due).abs().max()) < CLEAR_ERROR
    assert float((found - due).abs().max()) < SECURE_ERROR


@pytest.mark.parametrize("plan", ["mixed", "affine"])
def test_hidden_states(plan: str, tmp_path: Path) -> None:
    save(tmp_path, plan, "none")
    inputs = inputs_of(masked=True)
    due = plain(reference(tmp_path), inputs)["last_hidden_state"]
    found = clear_run(read_checkpoint(tmp_path), "hidden", inputs)["last_hidden_state"]
    assert float((found - due).abs().max()) < CLEAR_ERROR


@pytest.mark.parametrize("plan", list(PLANS))
def test_padding_changes_no_token_that_counts(plan: str, tmp_path: Path) -> None:
    save(tmp_path, plan, "none")
    inputs, model = inputs_of(masked=True), reference(tmp_path)
    padded = plain(model, inputs)["last_hidden_state"][1, :5]
    alone = plain(model, {"input_ids": inputs["input_ids"][1:, :5]})["last_hidden_state"][0]
    assert float((padded - alone).abs().max()) < 1e-5


def test_with_softmax_alone_it_is_a_bert_bit_for_bit(tmp_path: Path) -> None:
    theirs = save(tmp_path, "softmax")
    ours, inputs = read_checkpoint(tmp_path), inputs_of(masked=True)
    assert float((plain(reference(tmp_path), inputs)["logits"] - plain(theirs, inputs)["logits"]).abs().max()) < 1e-6
    say(tmp_path, model_type="bert")
    other = read_checkpoint(tmp_path)
    assert ours.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(ours.tensors[name], other.tensors[name]) for name in other.tensors)
    assert costs_of(ours, tmp_path / "ours", inputs) == costs_of(other, tmp_path / "other", inputs)


def costs_of(checkpoint: Checkpoint, folder: Path, inputs: Any) -> dict[tuple[str, str], Any]:
    """Every op's measured cost at P0."""
    _, meters = secure_steps(checkpoint, folder, "logits", [inputs])
    return {key: row.measured for key, row in meters["p0"].rows.items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention_kinds": [["softmax"] * 3] * LAYERS}, "attention_kinds of layer 0 is a list of 3"),
        ({"activations": ["gelu", "mish"]}, "activations has 'mish'"),
        ({"norms": [["layer", "batch"]] * LAYERS}, "norms of layer 0 has 'batch'"),
        ({"hidden_act": "relu"}, "hidden_act"),
    ],
)
def test_plans_that_are_wrong_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, "softmax")
    say(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)
