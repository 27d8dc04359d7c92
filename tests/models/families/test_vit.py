"""ViT on shares and in the clear against transformers, for every configuration that we accept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ViTForImageClassification

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint
from secure.models.contract.labels import parse_labels
from secure.models.contract.request import Output
from secure.models.program import network
from tests.models.families.test_golden import by_formula
from tests.models.images import pixels, plain, save_vit
from tests.models.runs import clear_run, secure_run, secure_steps
from tests.sampling import product_of

CLEAR_ERROR = 5e-4  # rounding of weights and inputs to 2^-16; 9.1e-5 of logits and 3.0e-4 is the most that was seen
SECURE_ERROR = 2e-3  # activations, norms, tanh; 8.7e-4 of logits, 9.3e-4 of a pooler is the most that was seen


def check(checkpoint: Checkpoint, folder: Path, images: Tensor, due: dict[str, Tensor]) -> None:
    """Both runs against transformers."""
    output: Output = "logits" if "logits" in due else "hidden"
    inputs = {"pixel_values": images}
    clear, secure = clear_run(checkpoint, output, inputs), secure_run(checkpoint, folder / "split", output, inputs)
    for run, bound in ((clear, CLEAR_ERROR), (secure, SECURE_ERROR)):
        assert set(run) == set(due)
        for name, tensor in run.items():
            assert tensor.shape == due[name].shape
            assert float((tensor - due[name]).abs().max()) < bound, name


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 1),
    "batch": ({}, 3),
    "odd": ({"image_size": [9, 20], "patch_size": [3, 5]}, 1),
    "pixels-left-over": ({"image_size": [7, 11], "patch_size": [3, 5]}, 2),
    "one-patch": ({"image_size": 4}, 2),
    "one-pixel": ({"image_size": 1, "patch_size": 1, "num_channels": 1}, 1),
    "patches-of-a-pixel": ({"image_size": 3, "patch_size": 1}, 1),
    "more-tokens-than-are-divided-at-the-end": ({"image_size": [9, 15], "patch_size": 1, "num_channels": 1}, 1),
    "one-channel": ({"num_channels": 1}, 1),
    "five-channels": ({"num_channels": 5}, 1),
    "without-query-biases": ({"qkv_bias": False}, 2),
    "one-layer-one-head": ({"num_hidden_layers": 1, "num_attention_heads": 1}, 2),
    "three-layers": ({"num_hidden_layers": 3}, 1),
    "gelu-tanh": ({"hidden_act": "gelu_pytorch_tanh"}, 1),
    "relu": ({"hidden_act": "relu"}, 1),
    "silu": ({"hidden_act": "silu"}, 1),
    "other-epsilon": ({"layer_norm_eps": 1e-3}, 1),
    "one-label": ({"num_labels": 1}, 1),
    "many-labels": ({"num_labels": 101}, 1),
    "default-spread": ({"initializer_range": 0.02}, 1),
}


@product_of(case=list(CASES), weights=["private", "public", "server"])
def test_logits(case: str, weights: Any, tmp_path: Path) -> None:
    changes, batch = CASES[case]
    reference = save_vit(tmp_path, **changes)
    images = pixels(batch, reference)
    check(read_checkpoint(tmp_path, weights=weights), tmp_path, images, plain(reference, images))


@pytest.mark.parametrize("weights", ["private", "public", "server"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooler_output_size": 7},
        {"arguments": {"add_pooling_layer": False}},
        {"arguments": {"use_mask_token": True}},
    ],
)
def test_hidden_states(changes: dict[str, Any], weights: Any, tmp_path: Path) -> None:
    reference = save_vit(tmp_path, "none", **changes)
    images = pixels(2, reference)
    check(read_checkpoint(tmp_path, weights=weights), tmp_path, images, plain(reference, images))


@pytest.mark.parametrize("head", ["classifier", "masked"])
def test_the_body_alone(head: str, tmp_path: Path) -> None:
    reference = save_vit(tmp_path, head)
    images = pixels(1, reference)
    checkpoint = read_checkpoint(tmp_path, head=False)
    assert not checkpoint.labels
    check(checkpoint, tmp_path, images, plain(reference.vit, images))


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 15.99), torch.full((1, 3, 8, 8), -15.99)]
)
def test_the_edges_of_the_range(images: Tensor, tmp_path: Path) -> None:
    reference = save_vit(tmp_path)
    check(read_checkpoint(tmp_path), tmp_path, images, plain(reference, images))


def test_images_in_half_precision(tmp_path: Path) -> None:
    reference = save_vit(tmp_path)
    images = pixels(1, reference).bfloat16()
    check(read_checkpoint(tmp_path), tmp_path, images, plain(reference, images))


GOLDEN = [[-0.14015, 0.26921, 0.03419], [-0.14891, 0.28657, 0.0295]]


def test_golden_logits(tmp_path: Path, edit: Callable[..., None]) -> None:
    """One fixed model and input, and the logits that transformers gave for them in float64."""
    save_vit(tmp_path, image_size=[6, 10], patch_size=[3, 5], num_labels=3)
    edit(tmp_path, tensors=by_formula)
    images = 3 * torch.sin(0.01 * torch.arange(2 * 3 * 6 * 10, dtype=torch.float64) ** 2).reshape(2, 3, 6, 10)
    checkpoint = read_checkpoint(tmp_path)
    due, inputs = torch.tensor(GOLDEN, dtype=torch.float64), {"pixel_values": images}
    reference = ViTForImageClassification.from_pretrained(tmp_path).double().eval()
    assert float((plain(reference, images)["logits"] - due).abs().max()) < 1e-5
    assert float((clear_run(checkpoint, "logits", inputs)["logits"] - due).abs().max()) < CLEAR_ERROR
    assert (
        float((secure_run(checkpoint, tmp_path / "split", "logits", inputs)["logits"] - due).abs().max()) < SECURE_ERROR
    )


def test_a_classifier_computes_little_in_its_last_layer(tmp_path: Path) -> None:
    """Only keys and values of patches are needed there: their feed-forward layer and their queries are left out."""
    reference = save_vit(tmp_path, image_size=16)
    inputs = {"pixel_values": pixels(1, reference)}
    _, meters = secure_steps(read_checkpoint(tmp_path), tmp_path / "split", "logits", [inputs])
    online: dict[str, dict[str, int]] = {"layer.0": {}, "layer.1": {}}
    for (layer, gate), row in meters["p0"].rows.items():
        if layer in online:
            online[layer][gate] = row.measured.online_bytes
    first, last = online.values()
    assert 2 * sum(last.values()) < sum(first.values())
    assert 16 * last["smooth-at-once"] < first["smooth-at-once"], "of 17 tokens one goes through the last GeLU"


@product_of(weights=["private", "public", "server"])
def test_what_the_client_needs_is_little(weights: Any, tmp_path: Path) -> None:
    """No table, and one number for a pixel, with public weights too."""
    reference = save_vit(tmp_path, image_size=[9, 20], patch_size=[3, 5])
    checkpoint = read_checkpoint(tmp_path, weights=weights)
    net = network(checkpoint.manifest)
    request = net.request("logits", {"pixel_values": pixels(2, reference)})
    assert checkpoint.embeddings == net.tables == {}
    assert (request.batch, request.tokens, request.masked) == (2, 12, False)
    assert net.input_specs(request, 0)["patches"].shape == (2, 12, 45)


def test_labels(tmp_path: Path) -> None:
    labels = {0: "tench", 1: "goldfish", 2: "shark"}
    save_vit(tmp_path, id2label=labels)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.labels == labels == parse_labels(json.loads((tmp_path / "config.json").read_text()))
    assert "goldfish" not in checkpoint.manifest.to_json()
    assert network(checkpoint.manifest).output_class == "ImageClassifierOutput"


@pytest.mark.parametrize("missing", ["architectures", "qkv_bias", "hidden_act", "pooler_act", "pooler_output_size"])
def test_fields_that_may_be_missing(missing: str, tmp_path: Path) -> None:
    """Older config.json files lack some; transformers' defaults then hold. Without `architectures` it is the body."""
    save_vit(tmp_path, "none")
    due = read_checkpoint(tmp_path).manifest
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config[missing]
    path.write_text(json.dumps(config))
    assert read_checkpoint(tmp_path).manifest == due


def test_other_tensors_of_the_family_are_left_alone(tmp_path: Path) -> None:
    save_vit(tmp_path)
    due = read_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    more = {name: torch.ones(3) for name in ("vit.pooler.dense.weight", "vit.embeddings.mask_token", "decoder.0.bias")}
    save_file(tensors | more, tmp_path / "model.safetensors")
    assert read_checkpoint(tmp_path).manifest == due.manifest
