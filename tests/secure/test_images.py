"""Images through the Python API, with the real protocol in this process and no sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from secure.api import PrivateModel
from secure.connection import Parties
from secure.models.checkpoint.conversion import CLIENT_NAME
from secure.models.contract.manifest import WeightVisibility
from secure.protocols.core.errors import CheckpointError, InputError
from secure.split import split
from tests.models.images import pixels, plain, save_vit
from tests.models.kin import save_model
from tests.secure.fakes import InProcessClient
from tests.secure.running import Running

LOGITS_ERROR = 2e-3
WEIGHTS: tuple[WeightVisibility, ...] = ("private", "public", "server")
LABELS = {0: "tench", 1: "goldfish", 2: "shark"}


@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_a_classifier(weights: Any, client: InProcessClient, tmp_path: Path) -> None:
    reference = save_vit(tmp_path, id2label=LABELS)
    model = PrivateModel.from_pretrained(tmp_path, parties=Parties(client), weights=weights)
    images = pixels(3, reference)
    ours, due = model(pixel_values=images), plain(reference, images)["logits"]
    assert type(ours) is ImageClassifierOutput
    assert ours.keys() == {"logits"}
    assert ours.logits.dtype == torch.float32
    assert float((ours.logits - due).abs().max()) < LOGITS_ERROR
    assert model.id2label == LABELS
    assert [(request.batch, request.tokens) for request in client.requests] == [(3, 4)]
    assert model.report.sequences == 3
    assert model.report.rounds > 0


@pytest.mark.parametrize("pooler", [True, False])
def test_a_body(pooler: bool, parties: Parties, tmp_path: Path) -> None:
    reference = save_vit(tmp_path, "none", arguments={"add_pooling_layer": pooler})
    model = PrivateModel.from_pretrained(tmp_path, parties=parties)
    images = pixels(1, reference)
    ours, due = model(pixel_values=images), plain(reference, images)
    assert type(ours) is BaseModelOutputWithPooling
    assert ours.keys() == due.keys()
    assert (ours.pooler_output is not None) is pooler
    for name, tensor in due.items():
        assert float((ours[name] - tensor).abs().max()) < LOGITS_ERROR, name


@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_a_split_folder(weights: Any, client: InProcessClient, tmp_path: Path) -> None:
    """There is no table for the client, with public weights either; the image processor's file is copied."""
    reference = save_vit(tmp_path / "whole", id2label=LABELS)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "whole")
    split(tmp_path / "whole", tmp_path / "shares", weights)
    assert not (tmp_path / "shares" / CLIENT_NAME).exists()
    model = PrivateModel.from_pretrained(tmp_path / "shares", parties=Parties(client))
    processor = AutoImageProcessor.from_pretrained(tmp_path / "shares", backend="pil")
    noise = numpy.random.default_rng(7).integers(0, 256, (11, 9, 3), dtype=numpy.uint8)
    images = processor(images=Image.fromarray(noise), return_tensors="pt")["pixel_values"]
    due = plain(reference, images)["logits"]
    assert float((model(pixel_values=images).logits - due).abs().max()) < LOGITS_ERROR
    assert model.id2label == LABELS
    with pytest.raises(CheckpointError, match="was split with its head"):
        PrivateModel.from_pretrained(tmp_path / "shares", parties=Parties(client), head=False)


def test_the_head_can_be_left_out(parties: Parties, tmp_path: Path) -> None:
    reference = save_vit(tmp_path)
    model = PrivateModel.from_pretrained(tmp_path, parties=parties, head=False)
    images = pixels(1, reference)
    due = plain(reference.vit, images)["last_hidden_state"]
    assert float((model(pixel_values=images).last_hidden_state - due).abs().max()) < LOGITS_ERROR
    assert model.id2label == {}


IDS = torch.tensor([[2, 7, 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pixel_values must be a torch tensor"),
        ({"input_ids": IDS}, "input_ids: this model takes images"),
        ({"input_ids": torch.zeros(1, 3, 8, 8)}, "pass pixel_values"),
        ({"pixel_values": torch.zeros(1, 3, 8, 8), "attention_mask": IDS}, "attention_mask: this model takes images"),
        ({"pixel_values": [[0.0]]}, "pixel_values must have shape"),
        ({"pixel_values": torch.zeros(3, 8, 8)}, "must have shape"),
        ({"pixel_values": torch.zeros(1, 3, 9, 8)}, "9 x 8 pixels"),
        ({"pixel_values": torch.full((1, 3, 8, 8), torch.nan)}, "NaN"),
    ],
)
def test_what_a_model_of_images_refuses(arguments: Any, message: str, client: InProcessClient, tmp_path: Path) -> None:
    save_vit(tmp_path)
    model = PrivateModel.from_pretrained(tmp_path, parties=Parties(client))
    with pytest.raises(InputError, match=message):
        model(**arguments)
    assert client.requests == []


def test_what_is_of_text(client: InProcessClient, tmp_path: Path) -> None:
    save_vit(tmp_path)
    model = PrivateModel.from_pretrained(tmp_path, parties=Parties(client))
    with pytest.raises(InputError, match="a model of type 'vit' has no sentence embeddings"):
        model.encode(["a cat"])
    with pytest.raises(InputError, match="does not generate"):
        model.generate(IDS, max_new_tokens=3)
    assert client.requests == []


@pytest.mark.parametrize("arguments", [{}, {"input_ids": IDS}])
def test_images_for_a_model_of_text(arguments: Any, client: InProcessClient, tmp_path: Path) -> None:
    save_model(tmp_path, "bert", "sequence")
    model = PrivateModel.from_pretrained(tmp_path, parties=Parties(client))
    with pytest.raises(InputError, match="pixel_values: this model takes token ids; pass input_ids"):
        model(**arguments, pixel_values=torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="input_ids must be a torch tensor, not NoneType"):
        model()
    assert client.requests == []


@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_a_classifier_of_images_by_three_processes(tmp_path: Path, beaver: Running) -> None:
    reference = save_vit(tmp_path, id2label=LABELS)
    images = pixels(2, reference)
    expected = plain(reference, images)["logits"]
    for weights in WEIGHTS:
        model = PrivateModel.from_pretrained(tmp_path, parties=beaver.parties, weights=weights)
        assert float((model(pixel_values=images).logits - expected).abs().max()) < LOGITS_ERROR, weights
