"""Folders that are written otherwise than by save_pretrained: loaded as transformers loads them, or refused."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint
from secure.models.contract.labels import parse_labels, read_labels, write_labels
from secure.protocols.core.errors import CheckpointError
from tests.models.decoders import plain, save_decoder, words
from tests.models.runs import clear_steps

Edit = Callable[..., None]
CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16


@pytest.fixture
def llama(tmp_path: Path) -> Any:
    return save_decoder(tmp_path, "llama", num_hidden_layers=1, spread=0.12)


def whole(folder: Path) -> Checkpoint:
    """With its tensors, as the folder is now."""
    found = read_checkpoint(folder)
    return Checkpoint(found.manifest, dict(found.tensors), {})


def same(found: Checkpoint, due: Checkpoint) -> bool:
    return found.manifest == due.manifest and all(
        torch.equal(tensor, due.tensors[name]) for name, tensor in found.tensors.items()
    )


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("layers.0.", "layers.0._orig_mod."),
    ],
    ids=["parallel", "compiled", "both", "the-other-way", "a-layer"],
)
def test_names_of_wrapped_modules(
    wrapped: Callable[[str], str], llama: Any, tmp_path: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    due = whole(tmp_path)
    assert not caplog.records

    def rename(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[wrapped(name)] = tensors.pop(name)

    edit(tmp_path, tensors=rename)
    with caplog.at_level(logging.WARNING):
        found = read_checkpoint(tmp_path)
    assert same(found, due)
    (said,) = caplog.messages
    assert "DataParallel or torch.compile" in said


def in_two_files(folder: Path, change: Callable[[Tensor], Tensor]) -> None:
    """The checkpoint in two files, and one tensor of it, changed, in both."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:5], "b.safetensors": [*names[5:], names[2]]}
    places = {name: file for file, held in parts.items() for name in held}
    for file, held in parts.items():
        twice = file == "b.safetensors"
        kept = {name: change(tensors[name]) if twice and name == names[2] else tensors[name] for name in held}
        save_file(kept, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_one_tensor_in_two_files(llama: Any, tmp_path: Path) -> None:
    due = whole(tmp_path)
    in_two_files(tmp_path, torch.Tensor.clone)
    assert same(read_checkpoint(tmp_path), due)


def test_one_tensor_in_two_files_with_other_numbers(llama: Any, tmp_path: Path) -> None:
    in_two_files(tmp_path, lambda tensor: tensor + 1)
    with pytest.raises(CheckpointError, match=r"b\.safetensors: tensor .* twice, with other numbers .*a\.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq"])
def test_stored_frequencies_are_recomputed(name: str, llama: Any, tmp_path: Path, edit: Edit) -> None:
    due = whole(tmp_path)
    edit(tmp_path, tensors=lambda tensors: tensors.update({name: torch.ones(2)}))
    assert same(read_checkpoint(tmp_path), due)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_head_of_its_own_counts_though_the_configuration_ties_it(
    family: str, tmp_path: Path, edit: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    """As in transformers 5; its fourth version overwrote the head that was trained."""
    reference = save_decoder(tmp_path, family, tie_word_embeddings=False, spread=0.12)
    edit(tmp_path, config={"tie_word_embeddings": True})
    with caplog.at_level(logging.WARNING):
        checkpoint = read_checkpoint(tmp_path)
    assert "the stored one is used" in caplog.text
    ids = words(1, 4)
    due = plain(reference, ids).logits
    found = clear_steps(checkpoint, "logits", [{"input_ids": ids}])[0]["logits"]
    assert float((found - due).abs().max()) < CLEAR_ERROR


def test_a_copy_of_the_words_in_another_type_is_a_tied_head(tmp_path: Path, edit: Edit) -> None:
    save_decoder(tmp_path, "llama", tie_word_embeddings=True).half().save_pretrained(tmp_path)
    words_name = "model.embed_tokens.weight"
    edit(tmp_path, tensors=lambda tensors: tensors.update({"lm_head.weight": tensors[words_name].float()}))
    assert read_checkpoint(tmp_path).manifest.config["tied"]


def test_a_head_that_is_neither_tied_nor_stored_is_missing(llama: Any, tmp_path: Path, edit: Edit) -> None:
    """transformers draws one at random, and says so in its log."""
    edit(tmp_path, tensors=lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"no tensor 'lm_head\.weight'"):
        read_checkpoint(tmp_path)


def test_pickled_weights_are_refused_with_the_command_that_converts_them(llama: Any, tmp_path: Path) -> None:
    due = whole(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin\), which can run code") as raised:
        read_checkpoint(tmp_path)
    python, option, program = shlex.split(str(raised.value).partition("convert them: ")[2])
    assert (python, option) == ("python", "-c")
    exec(program, {})  # the command that the message gives
    assert same(read_checkpoint(tmp_path), due)


def test_whole_numbers_as_labels(tmp_path: Path) -> None:
    labels = parse_labels({"id2label": {"0": 7, "1": 3}})
    assert labels == {0: "7", 1: "3"}
    write_labels(tmp_path, labels)
    assert read_labels(tmp_path, 2) == labels
