"""What is not accepted of a checkpoint with a head, or of an input for it, is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.labels import LABELS_NAME, read_labels
from secure.models.contract.request import Request
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError
from tests.models.kin import save_model
from tests.models.runs import client_inputs

Edit = Callable[..., None]


@pytest.mark.parametrize(
    ("family", "head", "field", "value"),
    [
        ("bert", "sequence", "architectures", ["BertForMultipleChoice"]),
        ("bert", "sequence", "architectures", ["RobertaForSequenceClassification"]),
        ("bert", "sequence", "architectures", ["BertModel", "BertForMaskedLM"]),
        ("bert", "sequence", "architectures", "BertModel"),
        ("roberta", "none", "architectures", ["XLMRobertaModel"]),
        ("distilbert", "none", "architectures", ["DistilBertForMultipleChoice"]),
        ("roberta", "none", "hidden_act", "relu"),
        ("roberta", "none", "hidden_act", None),
        ("roberta", "none", "position_embedding_type", "relative_key"),
        ("xlm-roberta", "none", "is_decoder", True),
        ("roberta", "none", "pad_token_id", None),
        ("roberta", "none", "pad_token_id", True),
        ("roberta", "none", "pad_token_id", -1),
        ("roberta", "none", "pad_token_id", 61),
        ("roberta", "none", "max_position_embeddings", 2),
        ("roberta", "none", "quantization_config", {"quant_method": "fp8"}),
        ("distilbert", "none", "activation", "relu"),
        ("distilbert", "none", "sinusoidal_pos_embds", True),
        ("distilbert", "none", "pruned_heads", {"0": [1]}),
        ("distilbert", "none", "dim", 0),
        ("distilbert", "none", "dim", 24.0),
        ("distilbert", "none", "n_heads", 5),
        ("distilbert", "none", "hidden_dim", None),
        ("roberta", "masked_lm", "tie_word_embeddings", "no"),
        ("bert", "sequence", "id2label", {"0": "no", "2": "yes"}),
        ("bert", "sequence", "id2label", {"0": "no", "1": ["yes"]}),
        ("bert", "sequence", "id2label", {}),
        ("bert", "token", "id2label", ["no", "yes"]),
        ("bert", "token", "num_labels", 3),
        ("bert", "token", "num_labels", 0),
    ],
)
def test_configuration(family: str, head: str, field: str, value: object, tmp_path: Path, edit: Edit) -> None:
    save_model(tmp_path, family, head)
    stored = {"id2label": {"0": "no", "1": "yes"}} if field == "num_labels" else {}
    edit(tmp_path, config=stored | {field: value})
    with pytest.raises(CheckpointError, match=field):
        read_checkpoint(tmp_path)


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    return change


def with_zeros(name: str, *shape: int) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("family", "head", "change", "message"),
    [
        ("bert", "sequence", without("bert.pooler.dense.bias"), r"no tensor 'pooler\.dense\.bias'"),
        ("bert", "sequence", with_zeros("classifier.weight", 3, 24), r"'classifier\.weight' has shape \(3, 24\)"),
        ("bert", "sequence", with_zeros("classifier.scale", 1), r"does not use, for example 'classifier\.scale'"),
        ("bert", "token", with_zeros("bert.embeddings.word_embeddings.scale", 1), "does not use.*embeddings.scale"),
        ("bert", "masked_lm", without("cls.predictions.bias"), r"no tensor 'cls\.predictions\.bias'"),
        ("bert", "masked_lm", with_zeros("cls.predictions.decoder.weight", 60, 24), r"decoder\.weight' has shape"),
        ("roberta", "masked_lm", with_zeros("lm_head.decoder.bias", 60), r"'lm_head\.decoder\.bias' has shape"),
        ("roberta", "sequence", without("classifier.out_proj.weight"), r"no tensor 'classifier\.out_proj\.weight'"),
        ("roberta", "token", with_zeros("embeddings.LayerNorm.bias", 24), "twice"),
        ("distilbert", "sequence", with_zeros("pooler.dense.weight", 24, 24), r"does not use.*pooler\.dense"),
        ("distilbert", "masked_lm", without("vocab_layer_norm.weight"), r"no tensor 'vocab_layer_norm\.weight'"),
    ],
)
def test_tensors(
    family: str, head: str, change: Callable[[dict[str, Tensor]], None], message: str, tmp_path: Path, edit: Edit
) -> None:
    save_model(tmp_path, family, head)
    edit(tmp_path, tensors=change)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("family", "copy", "original"),
    [
        ("bert", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("roberta", "lm_head.decoder.bias", "lm_head.bias"),
        ("distilbert", "vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    ],
)
def test_tied_tensors_may_be_stored_twice(family: str, copy: str, original: str, tmp_path: Path) -> None:
    save_model(tmp_path, family, "masked_lm")
    due = read_checkpoint(tmp_path)
    whole = dict(due.tensors)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {copy: tensors[original].clone()}, tmp_path / "model.safetensors")
    found = read_checkpoint(tmp_path)
    assert found.manifest == due.manifest
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_decoder_that_is_not_tied_must_be_there(family: str, tmp_path: Path, edit: Edit) -> None:
    save_model(tmp_path, family, "masked_lm")
    edit(tmp_path, config={"tie_word_embeddings": False})
    with pytest.raises(CheckpointError, match=r"no tensor '.*(decoder|projector)\.weight'"):
        read_checkpoint(tmp_path)


def test_other_heads_of_the_family_are_left_alone(tmp_path: Path, edit: Edit) -> None:
    save_model(tmp_path, "bert", "token")
    due = read_checkpoint(tmp_path)

    def add(tensors: dict[str, Tensor]) -> None:
        for name in ("cls.seq_relationship.weight", "bert.pooler.dense.weight", "qa_outputs.bias"):
            tensors[name] = torch.ones(3)

    edit(tmp_path, tensors=add)
    assert read_checkpoint(tmp_path).manifest == due.manifest


IDS = torch.tensor([[7, 8, 9, 10]])


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("roberta", {"input_ids": torch.tensor([[7, 1, 9, 10]])}, r"input_ids\[0, 1\] is padding \(1\)"),
        ("roberta", {"input_ids": torch.tensor([[7, 8, 9, 1]])}, r"input_ids\[0, 3\] is padding"),
        (
            "camembert",
            {"input_ids": torch.tensor([[1, 1, 9, 10]]), "attention_mask": torch.tensor([[0, 0, 1, 1]])},
            "pad at the end",
        ),
        ("roberta", {"input_ids": torch.arange(7, 26)[None]}, "19 tokens; this model takes 1 to 18"),
        ("distilbert", {"input_ids": IDS, "token_type_ids": torch.zeros_like(IDS)}, "token_type_ids.* no token types"),
    ],
)
def test_inputs(family: str, arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_model(tmp_path, family, "sequence")
    net = network(read_checkpoint(tmp_path).manifest)
    with pytest.raises(InputError, match=message):
        client_inputs(net, net.request("logits", arguments), arguments)


def test_logits_of_a_model_without_a_head(tmp_path: Path) -> None:
    save_model(tmp_path, "roberta", "none")
    with pytest.raises(InputError, match="no head"):
        network(read_checkpoint(tmp_path).manifest).validate(Request("logits", 1, 4, masked=False))


def test_labels_of_a_split_folder(tmp_path: Path) -> None:
    labels = {0: "négatif", 1: "positif"}
    save_model(tmp_path, "camembert", "sequence", id2label=labels)
    checkpoint = read_checkpoint(tmp_path)
    manifest, folder = write_split(checkpoint, tmp_path / "split"), tmp_path / "split"
    assert checkpoint.labels == read_labels(folder, 2) == labels
    assert "positif" not in manifest.to_json()
    assert read_labels(folder, 0) == {}
    with pytest.raises(CheckpointError, match="has 2 labels, the manifest 3"):
        read_labels(folder, 3)
    (folder / LABELS_NAME).write_text('["no"]')
    with pytest.raises(CheckpointError, match="every number from 0 on"):
        read_labels(folder, 1)
    (folder / LABELS_NAME).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_labels(folder, 2)
