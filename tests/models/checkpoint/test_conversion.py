"""A bad checkpoint, share file or input is refused by name before anything is shared."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint, read_manifest, read_share, split_checkpoint
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError
from tests.models.runs import client_inputs

Save = Callable[..., tuple[Path, Any]]
Edit = Callable[..., None]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "t5"),
        ("hidden_act", "gelu_new"),
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("num_attention_heads", 5),
        ("hidden_size", 0),
        ("layer_norm_eps", None),
    ],
)
def test_unsupported_configuration_is_named(field: str, value: object, save_bert: Save, edit: Edit) -> None:
    folder, _ = save_bert()
    edit(folder, config={field: value})
    with pytest.raises(CheckpointError, match=field):
        read_checkpoint(folder)


def _drop(tensors: dict[str, Tensor]) -> None:
    del tensors["encoder.layer.0.output.dense.bias"]


def _add(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.layer.0.adapter"] = torch.zeros(3)


def _reshape(tensors: dict[str, Tensor]) -> None:
    tensors["pooler.dense.weight"] = torch.zeros(3, 3)


def _high_embedding(tensors: dict[str, Tensor]) -> None:
    tensors["embeddings.word_embeddings.weight"][1, 2] = 48.0


def _integers(tensors: dict[str, Tensor]) -> None:
    tensors["pooler.dense.bias"] = torch.zeros(24, dtype=torch.int64)


def _poison(value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["encoder.layer.0.output.dense.bias"][3] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"no tensor 'encoder\.layer\.0\.output\.dense\.bias'"),
        (_add, "encoder.layer.0.adapter"),
        (_reshape, r"pooler\.dense\.weight.*\(3, 3\)"),
        (_integers, "floating point"),
        (_poison(float("nan")), r"layer\.0\.feedforward\.down\.bias.*NaN"),
        (_poison(float("inf")), "NaN or infinite"),
        (_poison(1e6), "magnitude 2"),
        (_high_embedding, r"embeddings\.table.*magnitude 2\^5"),
    ],
)
def test_bad_tensors_are_named(
    change: Callable[[dict[str, Tensor]], None], message: str, save_bert: Save, edit: Edit
) -> None:
    folder, _ = save_bert()
    edit(folder, tensors=change)
    with pytest.raises(CheckpointError, match=message):
        split_checkpoint(folder, folder / "split")
    assert not (folder / "split").exists() or not any((folder / "split").iterdir())


def test_folders_that_are_no_checkpoint(tmp_path: Path, save_bert: Save) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("not json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path)
    folder, _ = save_bert()
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        read_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        read_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("places", [[], "x", {"k": 3}, {"k": ["model.safetensors"]}, {}])
def test_an_index_that_is_none_is_named(places: object, save_bert: Save) -> None:
    folder, _ = save_bert()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        read_checkpoint(folder)


def test_an_index_that_leads_out_of_the_folder_is_refused(save_bert: Save) -> None:
    folder, _ = save_bert()
    shutil.move(folder / "model.safetensors", folder.parent / "out.safetensors")
    index = folder / "model.safetensors.index.json"
    for name in ("../out.safetensors", str(folder.parent / "out.safetensors")):
        index.write_text(json.dumps({"weight_map": {"embeddings.word_embeddings.weight": name}}))
        with pytest.raises(CheckpointError, match=rf"index\.json names {name}, which is not in the folder"):
            read_checkpoint(folder)


def test_sharded_and_prefixed_checkpoints_read_the_same(save_bert: Save, tmp_path: Path) -> None:
    folder, _ = save_bert()
    due = read_checkpoint(folder)
    whole = dict(due.tensors)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({f"bert.{name}": tensors[name] for name in chosen}, folder / file)
    index = {"weight_map": {f"bert.{name}": file for file, chosen in parts.items() for name in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_checkpoint(folder)
    assert found.manifest == due.manifest
    assert list(found.tensors) == list(whole)
    assert all(torch.equal(found.tensors[name], whole[name]) for name in whole)


def test_shares_add_up_and_are_private_files(save_bert: Save, tmp_path: Path) -> None:
    folder, _ = save_bert()
    manifest = split_checkpoint(folder, tmp_path / "out")
    assert read_manifest(tmp_path / "out") == manifest
    assert Manifest.from_json(manifest.to_json()).digest == manifest.digest
    whole = read_checkpoint(folder).tensors
    first, second = (read_share(tmp_path / "out" / f"{role}.safetensors", manifest, role) for role in ("p0", "p1"))
    for name, spec in manifest.parameters.items():
        total = first[name] + second[name]
        assert torch.equal(total.to(torch.int64), whole[name]), name
        assert not spec.elements > 100 or not torch.equal(second[name].to(torch.int64), whole[name])
    for role in ("p0", "p1"):
        assert stat.S_IMODE((tmp_path / "out" / f"{role}.safetensors").stat().st_mode) == 0o600


def test_a_share_file_must_be_the_right_one(save_bert: Save, tmp_path: Path) -> None:
    folder, _ = save_bert()
    manifest = split_checkpoint(folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match="p1"):
        read_share(tmp_path / "out" / "p0.safetensors", manifest, "p1")
    other = split_checkpoint(folder, tmp_path / "again")
    assert other.digest != manifest.digest  # fresh shares
    with pytest.raises(CheckpointError, match="hash differs"):
        read_share(tmp_path / "again" / "p0.safetensors", manifest, "p0")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_share(tmp_path / "nowhere.safetensors", manifest, "p0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.zeros(1, 0, dtype=torch.int64)}, "empty"),
        ({"input_ids": torch.zeros(0, 3, dtype=torch.int64)}, "empty"),
        ({"input_ids": torch.zeros(3, dtype=torch.int64)}, "shape"),
        ({"input_ids": torch.zeros(1, 3)}, "integers"),
        ({"input_ids": [[1, 2]]}, "tensor"),
        ({"input_ids": torch.tensor([[1, 61]])}, r"input_ids\[0, 1\] is outside 0 to 60"),
        ({"input_ids": torch.tensor([[-1, 6]])}, r"input_ids\[0, 0\]"),
        ({"input_ids": torch.zeros(1, 21, dtype=torch.int64)}, "21 tokens; this model takes 1 to 20"),
        (
            {"input_ids": torch.zeros(2, 3, dtype=torch.int64), "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])},
            "row 1 is all zeros",
        ),
        (
            {"input_ids": torch.zeros(1, 3, dtype=torch.int64), "attention_mask": torch.tensor([[1, 0]])},
            "attention_mask has shape",
        ),
        (
            {"input_ids": torch.zeros(1, 3, dtype=torch.int64), "attention_mask": torch.tensor([[1, 2, 0]])},
            r"attention_mask\[0, 1\]",
        ),
        (
            {"input_ids": torch.zeros(1, 2, dtype=torch.int64), "token_type_ids": torch.tensor([[0, 2]])},
            r"token_type_ids\[0, 1\] is outside 0 to 1",
        ),
    ],
)
def test_bad_inputs_are_named(arguments: dict[str, Any], message: str, save_bert: Save) -> None:
    net = network(read_checkpoint(save_bert()[0]).manifest)
    with pytest.raises(InputError, match=message):
        client_inputs(net, net.request("hidden", arguments), arguments)


def test_a_manifest_says_whether_one_hot_vectors_are_checked(save_bert: Save, tmp_path: Path) -> None:
    """One that says nothing is of a time without a choice: they are."""
    folder, _ = save_bert()
    text = split_checkpoint(folder, tmp_path / "split", checks_one_hot=False).to_json()
    assert not Manifest.from_json(text).checks_one_hot
    assert Manifest.from_json(text.replace(' "checks_one_hot": false,\n', "")).checks_one_hot
    with pytest.raises(CheckpointError, match="checks_one_hot 0; it is true or false"):
        Manifest.from_json(text.replace('"checks_one_hot": false', '"checks_one_hot": 0'))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"output": "x", "batch": 1, "tokens": 1, "masked": true}'])
def test_malformed_requests_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Request.from_json(text)


def test_folders_of_an_older_format_are_refused(save_bert: Save, tmp_path: Path) -> None:
    folder, _ = save_bert()
    text = split_checkpoint(folder, tmp_path / "split").to_json()
    assert '"format": 3' in text
    with pytest.raises(
        CheckpointError, match="manifest has format 2, this version reads 3; split the checkpoint again"
    ):
        Manifest.from_json(text.replace('"format": 3', '"format": 2'))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}'])
def test_malformed_manifests_are_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Manifest.from_json(text)
