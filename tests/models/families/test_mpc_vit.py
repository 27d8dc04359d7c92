"""Heads by kinds and layers without activation: on shares against transformers' ViT with the same plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from secure import clear_model
from secure.clear_model import reference
from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint
from secure.models.families.vit import Vit
from secure.models.layers.mixtures import KINDS
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError
from tests.families import FAMILIES
from tests.models.images import pixels, plain, save_vit
from tests.models.runs import clear_run, secure_run, secure_steps
from tests.sampling import product_of

CLEAR_ERROR = 5e-4
SECURE_ERROR = 4e-3
LAYERS, HEADS = 2, 4
MIXED = [["scale", "relu", "softmax", "relu"], ["softmax", "square", "scale", "scale"]]
PLANS: dict[str, tuple[list[list[str]], list[str]]] = {
    **{kind: ([[kind] * HEADS] * LAYERS, ["gelu", "gelu"]) for kind in KINDS},
    "mixed": (MIXED, ["none", "relu"]),
    "all-kinds": ([[*KINDS][1:], [*reversed(KINDS)][1:]], ["gelu", "none"]),
    "linear": ([["scale"] * HEADS] * LAYERS, ["none", "none"]),
    "affine": ([["scale"] * HEADS] * LAYERS, ["none", "none"]),
}
NORMS_OF: dict[str, list[list[str]]] = {
    "mixed": [["affine", "layer"], ["layer", "affine"]],
    "affine": [["affine", "affine"]] * LAYERS,
}
"""Of plans with others than layer norms."""
# Heads of 4 in 10 tokens: more scores than products of keys and values, so scaled heads are reordered.
LONG = {"image_size": [9, 9], "patch_size": 3, "hidden_size": 16, "num_attention_heads": HEADS}
# Heads of 8 in 2 tokens are not.
SHORT = {"image_size": [3, 3], "patch_size": 3, "hidden_size": 32, "num_attention_heads": HEADS}
SIZES = {"long": LONG, "short": SHORT}
BY_NAME = {family.name: family for family in FAMILIES}


def save(folder: Path, plan: str, **changes: Any) -> Path:
    """A random ViT with a plan of `PLANS`."""
    save_vit(folder, **changes)
    kinds, activations = PLANS[plan]
    say(folder, model_type="mpc_vit", attention_kinds=kinds, activations=activations)
    if plan in NORMS_OF:
        say(folder, norms=NORMS_OF[plan])
    return folder


def say(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@product_of(
    plan=list(PLANS),
    sizes=list(SIZES),
    weights=["private", "public", "server"],
    family=list(BY_NAME),
)
def test_logits(plan: str, sizes: str, weights: Any, family: str, tmp_path: Path) -> None:
    if weights == "server" and family != "beaver":
        weights = "private"
    model = reference(save(tmp_path, plan, **SIZES[sizes]))
    images = pixels(2, model)
    due = plain(model, images)["logits"]
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    inputs = {"pixel_values": images}
    clear = clear_run(checkpoint, "logits", inputs)["logits"]
    found = secure_run(checkpoint, tmp_path / "split", "logits", inputs, BY_NAME[family])["logits"]
    assert float((clear - due).abs().max()) < CLEAR_ERROR
    assert float((found - due).abs().max()) < SECURE_ERROR


def test_the_reference_is_a_vit_where_all_heads_have_a_softmax(tmp_path: Path) -> None:
    theirs = save_vit(tmp_path, **LONG)
    images = pixels(2, theirs)
    say(tmp_path, model_type="mpc_vit")
    assert float((plain(reference(tmp_path), images)["logits"] - plain(theirs, images)["logits"]).abs().max()) < 1e-6


def test_with_softmax_alone_it_is_a_vit_bit_for_bit(tmp_path: Path) -> None:
    model = save_vit(tmp_path, **LONG)
    theirs = read_checkpoint(tmp_path)
    say(tmp_path, model_type="mpc_vit")
    ours = read_checkpoint(tmp_path)
    assert theirs.tensors.keys() == ours.tensors.keys()
    assert all(torch.equal(theirs.tensors[name], ours.tensors[name]) for name in theirs.tensors)
    inputs = {"pixel_values": pixels(1, model)}
    first, second = (rounds_of(each, tmp_path / name, inputs) for each, name in ((theirs, "theirs"), (ours, "ours")))
    assert first == second


def rounds_of(checkpoint: Checkpoint, folder: Path, inputs: Any) -> dict[tuple[str, str], Any]:
    """Every op's measured cost at P0."""
    _, meters = secure_steps(checkpoint, folder, "logits", [inputs])
    return {key: row.measured for key, row in meters["p0"].rows.items()}


def test_kinds_of_a_layer_share_their_rounds(tmp_path: Path) -> None:
    rounds = {}
    for plan in PLANS:
        folder = tmp_path / plan
        folder.mkdir()
        model = reference(save(folder, plan, **LONG))
        inputs = {"pixel_values": pixels(1, model)}
        costs = rounds_of(read_checkpoint(folder), folder / "split", inputs)
        rounds[plan] = sum(cost.rounds for (layer, _), cost in costs.items() if layer == "layer.0")
    assert rounds["scale"] <= rounds["square"] <= rounds["relu"] < rounds["bounded"] < rounds["softmax"]
    assert rounds["all-kinds"] <= rounds["softmax"], "all kinds together take no longer than the longest one"
    assert rounds["affine"] <= rounds["linear"] / 2, "norms are half of a linear layer's rounds, and affine ones none"


def test_scaled_heads_of_long_rows_send_little(tmp_path: Path) -> None:
    sent = {}
    for plan in ("scale", "softmax"):
        folder = tmp_path / plan
        folder.mkdir()
        model = reference(save(folder, plan, **LONG | {"image_size": [48, 48], "num_hidden_layers": 2}))
        costs = rounds_of(read_checkpoint(folder), folder / "split", {"pixel_values": pixels(1, model)})
        sent[plan] = sum(cost.online_bytes for (layer, _), cost in costs.items() if layer == "layer.0")
    assert sent["scale"] < sent["softmax"] / 5


def test_rows_that_add_up_to_nothing_have_weights_of_zero(tmp_path: Path) -> None:
    """Queries of zero: positive parts are zero, and so are their weights; squares are all alike."""
    model = save_vit(tmp_path, **LONG)
    for name, parameter in model.named_parameters():
        if "query" in name or "q_proj" in name:
            parameter.data.zero_()
    model.save_pretrained(tmp_path)
    say(tmp_path, model_type="mpc_vit", attention_kinds=[["relu", "relu", "square", "square"]] * LAYERS)
    inputs = {"pixel_values": pixels(1, model)}
    due = plain(reference(tmp_path), inputs["pixel_values"])["logits"]
    for family in FAMILIES:
        found = secure_run(read_checkpoint(tmp_path), tmp_path / family.name, "logits", inputs, family)["logits"]
        assert float((found - due).abs().max()) < SECURE_ERROR


def test_scores_above_and_far_below_the_bound(tmp_path: Path) -> None:
    """Some rows have scores of 20 and more, and some have negative ones alone, whose sum is small."""
    model = save_vit(tmp_path, **LONG)
    for name, parameter in model.named_parameters():
        if ("query" in name or "q_proj" in name) and "weight" in name:
            parameter.data *= 30
    model.save_pretrained(tmp_path)
    say(tmp_path, model_type="mpc_vit", attention_kinds=[["bounded"] * HEADS] * LAYERS)
    inputs, clear = {"pixel_values": pixels(1, model)}, reference(tmp_path)
    seen: list[torch.Tensor] = []
    hooked = clear_model.weights_of

    def noted(kind: str, scores: torch.Tensor, kept: Any = None) -> torch.Tensor:
        seen.append(scores.amax(-1).flatten())
        return hooked(kind, scores, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clear_model, "weights_of", noted)
        due = plain(clear, inputs["pixel_values"])["logits"]
    largest = torch.cat(seen)
    assert float(largest.max()) > 20 and float(largest.min()) < 0
    for family in FAMILIES:
        found = secure_run(read_checkpoint(tmp_path), tmp_path / family.name, "logits", inputs, family)["logits"]
        assert float((found - due).abs().max()) < SECURE_ERROR


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention_kinds": [["softmax"] * HEADS]}, "attention_kinds is a list of 1; it must have a list of kinds"),
        ({"attention_kinds": [["softmax"] * 3] * LAYERS}, "attention_kinds of layer 0 is a list of 3"),
        (
            {"attention_kinds": [["linear"] * HEADS] * LAYERS},
            "attention_kinds of layer 0 has 'linear'; supported",
        ),
        ({"attention_kinds": "scale"}, "attention_kinds is 'scale'"),
        ({"activations": ["gelu"]}, "activations is a list of 1"),
        ({"activations": ["gelu", "mish"]}, "activations has 'mish'; supported: .*none"),
        ({"norms": [["layer", "layer"]]}, "norms is a list of 1; it must have a list of two norms for each layer"),
        ({"norms": [["layer"]] * LAYERS}, "norms of layer 0 is a list of 1; it must have a norm for each of attention"),
        ({"norms": [["layer", "batch"]] * LAYERS}, "norms of layer 0 has 'batch'; supported: layer, affine"),
    ],
)
def test_plans_that_are_wrong_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, "softmax", **LONG)
    say(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_a_vit_has_no_reference_of_ours(tmp_path: Path) -> None:
    save_vit(tmp_path, **LONG)
    with pytest.raises(
        CheckpointError,
        match="model_type is 'vit', not 'mpc_vit', 'mpc_bert' or 'mpc_gpt2'; read it with transformers itself",
    ):
        reference(tmp_path)
    with pytest.raises(CheckpointError, match=r"no config\.json that can be read"):
        reference(tmp_path / "nothing")


def test_the_manifest_has_the_plan(tmp_path: Path) -> None:
    net = network(read_checkpoint(save(tmp_path, "mixed", **LONG)).manifest)
    assert isinstance(net, Vit)
    assert [list(net.config.kinds_of_heads(i)) for i in range(LAYERS)] == MIXED
    assert net.config.activation_of(0) == "none"
