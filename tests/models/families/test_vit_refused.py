"""What is not accepted of a ViT checkpoint, or of an input for it, is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.network import Network
from secure.models.contract.request import Output, Request
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError
from tests.models.images import save_vit
from tests.models.runs import client_inputs

Edit = Callable[..., None]


@pytest.mark.parametrize(
    ("head", "field", "value"),
    [
        ("classifier", "architectures", ["ViTForMaskedImageModeling"]),
        ("classifier", "architectures", ["DeiTForImageClassification"]),
        ("classifier", "architectures", "ViTModel"),
        ("classifier", "model_type", "deit"),
        ("classifier", "hidden_size", 25),
        ("classifier", "hidden_size", 6144),
        ("classifier", "hidden_size", 24.0),
        ("classifier", "num_hidden_layers", 0),
        ("classifier", "num_attention_heads", 5),
        ("classifier", "intermediate_size", None),
        ("classifier", "num_channels", -1),
        ("classifier", "head_dim", 4),
        ("classifier", "hidden_act", "quick_gelu"),
        ("classifier", "hidden_act", None),
        ("classifier", "layer_norm_eps", 0),
        ("classifier", "image_size", 0),
        ("classifier", "image_size", [8]),
        ("classifier", "image_size", [8, 8, 8]),
        ("classifier", "image_size", [8, 8.0]),
        ("classifier", "image_size", [8, -8]),
        ("classifier", "image_size", {"height": 8, "width": 8}),
        ("classifier", "image_size", 3),
        ("classifier", "image_size", [8, 3]),
        ("classifier", "patch_size", "4"),
        ("classifier", "patch_size", [True, 4]),
        ("classifier", "patch_size", 9),
        ("classifier", "qkv_bias", None),
        ("classifier", "qkv_bias", 1),
        ("classifier", "pruned_heads", {"0": [1]}),
        ("classifier", "quantization_config", {"quant_method": "fp8"}),
        ("classifier", "num_labels", 3),
        ("classifier", "id2label", {}),
        ("none", "pooler_act", "relu"),
        ("none", "pooler_output_size", -7),
        ("none", "pooler_output_size", "24"),
    ],
)
def test_configuration(head: str, field: str, value: object, tmp_path: Path, edit: Edit) -> None:
    save_vit(tmp_path, head)
    stored = {"id2label": {"0": "no", "1": "yes"}} if field == "num_labels" else {}
    edit(tmp_path, config=stored | {field: value})
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{field}"):
        read_checkpoint(tmp_path)


def test_of_a_classifier_the_pooler_is_irrelevant(tmp_path: Path, edit: Edit) -> None:
    save_vit(tmp_path)
    due = read_checkpoint(tmp_path).manifest
    edit(tmp_path, config={"pooler_act": "relu", "pooler_output_size": 7})
    assert read_checkpoint(tmp_path).manifest == due


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    return change


def with_zeros(name: str, *shape: int) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("vit.embeddings.cls_token"), r"no tensor 'embeddings\.cls_token'"),
        (without("vit.encoder.layer.1.attention.attention.key.bias"), r"no tensor '.*key\.bias'"),
        (without("classifier.bias"), r"no tensor 'classifier\.bias'"),
        (with_zeros("vit.embeddings.position_embeddings", 1, 17, 24), r"position_embeddings' has shape \(1, 17, 24\)"),
        (with_zeros("vit.embeddings.patch_embeddings.projection.weight", 24, 48), "projection.weight' has shape"),
        (with_zeros("vit.embeddings.distillation_token", 1, 1, 24), "does not use.*distillation_token"),
        (with_zeros("vit.encoder.layer.2.output.dense.bias", 24), "does not use.*layer.2"),
    ],
)
def test_tensors(change: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path, edit: Edit) -> None:
    save_vit(tmp_path)
    edit(tmp_path, tensors=change)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_biases_that_the_configuration_denies(tmp_path: Path, edit: Edit) -> None:
    save_vit(tmp_path)
    edit(tmp_path, config={"qkv_bias": False})
    with pytest.raises(CheckpointError, match=r"does not use.*attention\.key\.bias"):
        read_checkpoint(tmp_path)


@pytest.fixture
def net(tmp_path: Path) -> Network:
    """Of a classifier that takes three channels and 8 x 12 pixels, in six patches."""
    save_vit(tmp_path, image_size=[8, 12])
    return network(read_checkpoint(tmp_path).manifest)


IMAGES = torch.zeros(2, 3, 8, 12)


def with_pixel(value: float, image: int = 1) -> Tensor:
    images = IMAGES.clone()
    images[image, 2, 7, 11] = value
    return images


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "pixel_values must be a torch tensor, not NoneType"),
        ({"pixel_values": [[0.0]]}, "pixel_values must be a torch tensor, not list"),
        (
            {"pixel_values": (IMAGES * 255).to(torch.uint8)},
            "floating-point numbers, not torch.uint8; .*AutoImageProcessor",
        ),
        ({"pixel_values": IMAGES.to(torch.complex64)}, "not torch.complex64"),
        ({"pixel_values": IMAGES.bool()}, "not torch.bool"),
        ({"pixel_values": IMAGES[0]}, r"must have shape \[batch, channels, height, width\], not \[3, 8, 12\]"),
        ({"pixel_values": IMAGES[None]}, "must have shape"),
        ({"pixel_values": IMAGES[:0]}, "is empty"),
        ({"pixel_values": IMAGES[:, :1]}, "has 1 channels; this model takes 3"),
        ({"pixel_values": IMAGES.movedim(1, -1)}, "has 8 channels"),
        (
            {"pixel_values": IMAGES.transpose(2, 3)},
            r"12 x 8 pixels \(height x width\); this model takes 8 x 12, and does",
        ),
        ({"pixel_values": torch.zeros(1, 3, 16, 24)}, "does not interpolate its positions"),
        ({"pixel_values": IMAGES[:, :, :0]}, "images of 0 x 12 pixels"),
        ({"pixel_values": with_pixel(float("nan"))}, r"pixel_values\[1\] has NaN or infinite"),
        ({"pixel_values": with_pixel(float("-inf"), image=0)}, r"pixel_values\[0\] has NaN or infinite"),
        ({"pixel_values": with_pixel(16.0)}, r"pixel_values\[1\] has numbers of magnitude 16 or more"),
        ({"pixel_values": with_pixel(-255.0)}, "magnitude 16 or more; .*AutoImageProcessor"),
        ({"input_ids": torch.tensor([[1, 2]])}, "input_ids: this model takes images"),
        ({"input_ids": IMAGES}, r"input_ids: this model takes images; pass pixel_values=\.\.\. alone"),
        ({"pixel_values": IMAGES, "attention_mask": torch.ones(2, 6)}, "attention_mask: this model takes images"),
        ({"pixel_values": IMAGES, "token_type_ids": torch.ones(2, 6)}, "token_type_ids: this model takes images"),
        ({"pixel_values": torch.zeros(4097, 3, 8, 12)}, "a batch of 4097"),
    ],
)
def test_inputs(net: Network, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        client_inputs(net, net.request("logits", inputs), inputs)


def test_no_message_holds_a_pixel(net: Network) -> None:
    for value in (-255.0, 16.0):
        inputs = {"pixel_values": with_pixel(value)}
        with pytest.raises(InputError) as caught:
            client_inputs(net, net.request("logits", inputs), inputs)
        assert "255" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("logits", 1, 7, masked=False), "7 patches; this model takes 6"),
        (Request("logits", 1, 6, masked=True), "no attention mask"),
        (Request("logits", 0, 6, masked=False), "a batch of 0"),
        (Request("logits", 1, 6, masked=False, steps=2), "does not generate"),
        (Request("next_token", 1, 6, masked=False), "does not generate"),
        (Request("embedding", 1, 6, masked=False), "no sentence embeddings"),
    ],
)
def test_requests(net: Network, request_: Request, message: str) -> None:
    with pytest.raises(InputError, match=message):
        net.validate(request_)


@pytest.mark.parametrize("output", ["embedding", "next_logits"])
def test_outputs_that_images_have_not(net: Network, output: Output) -> None:
    with pytest.raises(InputError, match="this model takes images"):
        net.request(output, {"input_ids": torch.tensor([[1, 2]])})


def test_logits_of_a_model_without_a_head(tmp_path: Path) -> None:
    save_vit(tmp_path, "none")
    with pytest.raises(InputError, match="no head"):
        network(read_checkpoint(tmp_path).manifest).validate(Request("logits", 1, 4, masked=False))
