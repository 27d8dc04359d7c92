"""Other heads of decoders than words agree with transformers; head=False loads the body alone, whatever is on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.request import Request
from secure.models.families.outputs import model_output
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError
from tests.families import REPLICATED
from tests.in_process import BEAVER, Family
from tests.models.decoders import SIZES, forward, words
from tests.models.runs import clear_run, secure_run

CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16
SECURE_ERROR = 4e-3  # activations through norms and a head; 1.5e-3 is the most that was seen
PADDING = 0
TASKS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
STEMS = {"gpt2": "GPT2", "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
CLASSES = [f"{stem}{task}" for stem in STEMS.values() for task in TASKS]
Edit = Callable[..., None]


def save(folder: Path, name: str, **changes: Any) -> Any:
    family = next(family for family, stem in STEMS.items() if name.startswith(stem))
    torch.manual_seed(0)
    fields = SIZES[family] | {"initializer_range": 0.2, "pad_token_id": PADDING, "num_labels": 3} | changes
    model = getattr(transformers, name)(AutoConfig.for_model(family, **fields)).eval()
    with torch.no_grad():
        for parameter in (p for name, p in model.named_parameters() if name.endswith("bias") or "norm" in name):
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def rows(*counts: int, tokens: int = 6, start: bool = False) -> tuple[Tensor, Tensor]:
    """Rows with so many tokens of padding each, at the end or at the start, and their mask."""
    places = torch.arange(tokens)
    padded = torch.tensor(counts).unsqueeze(1)
    mask = (places >= padded if start else places < tokens - padded).long()
    return words(len(counts), tokens) * mask, mask


def due(model: Any, ids: Tensor, mask: Tensor | None) -> Tensor:
    """What transformers gives, answers' beginnings and ends side by side."""
    found = forward(model, ids, mask)
    return torch.stack([found.start_logits, found.end_logits], -1) if "start_logits" in found else found.logits


def difference(found: Tensor, expected: Tensor, mask: Tensor) -> float:
    """The largest one, over tokens that count where there is a result for each."""
    assert found.shape == expected.shape
    apart = (found - expected).abs()
    return float((apart[mask.bool()] if apart.dim() == 3 else apart).max())


@pytest.mark.parametrize("name", [*CLASSES, "GPT2DoubleHeadsModel"])
def test_the_body_alone(name: str, tmp_path: Path) -> None:
    model, ids = save(tmp_path, name), words(2, 5)
    checkpoint = read_checkpoint(tmp_path, head=False)
    expected = forward(model.get_submodule(model.base_model_prefix), ids).last_hidden_state
    found = clear_run(checkpoint, "hidden", {"input_ids": ids})["last_hidden_state"]
    assert float((found - expected).abs().max()) < CLEAR_ERROR


@pytest.mark.parametrize("name", CLASSES)
def test_every_head_of_every_family(name: str, tmp_path: Path) -> None:
    model, (ids, mask) = save(tmp_path, name), rows(2, 0, 3)
    checkpoint = read_checkpoint(tmp_path)
    outputs = clear_run(checkpoint, "logits", {"input_ids": ids, "attention_mask": mask})
    assert difference(outputs["logits"], due(model, ids, mask), mask) < CLEAR_ERROR
    answer = model_output(network(checkpoint.manifest), outputs)
    assert {key for key, value in forward(model, ids, mask).items() if isinstance(value, Tensor)} == set(answer)
    if name.endswith("Classification"):
        assert checkpoint.labels == model.config.id2label


@pytest.mark.parametrize("family", [BEAVER, REPLICATED], ids=lambda family: family.name)
@pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "GPT2ForTokenClassification"])
def test_on_shares(name: str, family: Family, tmp_path: Path) -> None:
    model, (ids, mask) = save(tmp_path, name), rows(2, 0)
    inputs = {"input_ids": ids, "attention_mask": mask}
    found = secure_run(read_checkpoint(tmp_path), tmp_path / "split", "logits", inputs, family)["logits"]
    assert difference(found, due(model, ids, mask), mask) < SECURE_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("family", [BEAVER, REPLICATED], ids=lambda family: family.name)
@pytest.mark.parametrize("name", CLASSES)
def test_all_on_shares(name: str, family: Family, tmp_path: Path) -> None:
    test_on_shares(name, family, tmp_path)


@pytest.mark.parametrize("stem", ["GPT2", "Llama"])
def test_a_sequence_is_classified_behind_its_last_token(stem: str, tmp_path: Path) -> None:
    """Padding at the end, at the start, without a mask, within a row, and rows that have none."""
    model = save(tmp_path, f"{stem}ForSequenceClassification")
    checkpoint = read_checkpoint(tmp_path, weights="public")
    within = rows(0, 0)[0]
    within[0, 2] = PADDING
    cases: list[tuple[Tensor, Tensor | None]] = [
        rows(3, 1, 0),
        rows(3, 1, 0, start=True),
        (rows(3, 1)[0], None),
        (within, None),
        (words(2, 6), None),
    ]
    for ids, mask in cases:
        inputs = {"input_ids": ids, "attention_mask": mask}
        found = clear_run(checkpoint, "logits", inputs)["logits"]
        assert difference(found, due(model, ids, mask), torch.ones_like(ids)) < CLEAR_ERROR


@pytest.mark.parametrize("padding", [None, -1])
def test_without_padding_the_mask_says_where_a_row_ends(padding: int | None, tmp_path: Path, edit: Edit) -> None:
    """Each row is then classified as it is alone; transformers takes no batch at all without an id for padding."""
    model, (ids, mask) = save(tmp_path, "LlamaForSequenceClassification"), rows(2, 0, 3)
    model.config.pad_token_id = None
    edit(tmp_path, config={"pad_token_id": padding})
    expected = torch.cat([due(model, row[kept.bool()][None], None) for row, kept in zip(ids, mask, strict=True)])
    inputs = {"input_ids": ids, "attention_mask": mask}
    found = clear_run(read_checkpoint(tmp_path), "logits", inputs)["logits"]
    assert difference(found, expected, mask) < CLEAR_ERROR


def test_full_rows_share_no_places(tmp_path: Path) -> None:
    save(tmp_path, "LlamaForSequenceClassification")
    net = network(read_checkpoint(tmp_path).manifest)
    (full, _), (short, _) = rows(0, 0), rows(2, 0)
    named = [set(net.input_specs(net.request("logits", {"input_ids": ids}), 0)) for ids in (full, short)]
    assert named == [{"one_hot"}, {"one_hot", "mask", "last"}]


def test_a_bias_that_the_configuration_leaves_out(tmp_path: Path) -> None:
    model = save(tmp_path, "LlamaForTokenClassification", token_classification_bias=False)
    checkpoint, ids = read_checkpoint(tmp_path), words(2, 5)
    assert ("head.bias" in checkpoint.manifest.parameters) == (model.score.bias is not None)
    found = clear_run(checkpoint, "logits", {"input_ids": ids})["logits"]
    assert difference(found, due(model, ids, None), torch.ones_like(ids)) < CLEAR_ERROR


def test_heads_of_other_tasks_are_left_alone(tmp_path: Path, edit: Edit) -> None:
    save(tmp_path, "LlamaForSequenceClassification")
    expected = read_checkpoint(tmp_path).manifest

    def add(tensors: dict[str, Tensor]) -> None:
        tensors |= {"lm_head.weight": torch.zeros(61, 24), "qa_outputs.bias": torch.zeros(2)}

    edit(tmp_path, tensors=add)
    assert read_checkpoint(tmp_path).manifest == expected
    edit(tmp_path, tensors=lambda tensors: tensors.update({"score.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"does not use.*score\.bias"):
        read_checkpoint(tmp_path)


def test_a_classifier_does_not_generate(tmp_path: Path) -> None:
    save(tmp_path, "LlamaForSequenceClassification")
    net = network(read_checkpoint(tmp_path).manifest)
    with pytest.raises(InputError, match="another task than words"):
        net.validate(Request("next_token", 1, 4, masked=False))
